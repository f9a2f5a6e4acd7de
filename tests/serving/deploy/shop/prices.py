"""What pieces cost."""


def total(pieces, rate):
    return pieces * rate
