"""A shop: orders are priced and answered, then billed by one child function and audited by another."""

import prices

import millrace


class Price:
    """Prices an order."""

    def __init__(self, rate):
        self.rate = rate

    def do(self, order):
        return {**order, "total": prices.total(order["pieces"], self.rate)}


def bill(order):
    return {**order, "billed": True}


def audit(order):
    return order


def function():
    made = millrace.new_function("orders", project="shop", kind="serving")
    graph = made.set_topology("flow")
    graph.to("Price", name="price", rate=3).respond()
    graph.add_step(">>", "priced", path="kafka://kafka.shop.svc:9092/priced", shards=6, after="price")
    graph.add_step(name="bill", handler="bill", function="billing", after="priced")
    graph.add_step(">>", "billed", path="kafka://kafka.shop.svc:9092/billed", after="bill")
    graph.add_step(name="audit", handler="audit", function="audit", after="billed")
    made.add_child_function("billing")
    made.add_child_function("audit")
    return made


fn = function()
