"""A function of a parent and two children that note what they get, and a program that sends it numbers.

``python child_program.py URL FIRST COUNT FILE`` sends numbers and notes those that were accepted; the children note
theirs in ``a-PID`` and ``b-PID`` in the working folder.
"""

import http.client
import os
import sys
import threading
import time

import millrace

THREADS = 8
IN_FLIGHT = int(os.environ.get("IN_FLIGHT", "50"))
POISON_EVERY = int(os.environ.get("POISON_EVERY", "0"))
SLOW_SECONDS = float(os.environ.get("SLOW_SECONDS", "0"))
SLOW = 7

_files = {}


def note(name, number):
    """One whole line at a time, which is there even if the process is killed right after."""
    if name not in _files:
        _files[name] = os.open(f"{name}-{os.getpid()}", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(_files[name], b"%d\n" % number)


def first(number):
    if POISON_EVERY and number % POISON_EVERY == POISON_EVERY - 1:
        raise ValueError("poison")
    if SLOW_SECONDS and number == SLOW:
        time.sleep(SLOW_SECONDS)
    note("a", number)
    return number


def second(number):
    note("b", number)


function = millrace.new_function("shop")
settings = {"shards": 4, "max_in_flight": IN_FLIGHT, "retries": 1, "backoff_seconds": 0.001}
graph = function.set_topology("flow")
graph.to(">>", "orders", **settings).to(
    name="first", handler=first, function="a", execution="thread" if SLOW_SECONDS else "inline"
).to(">>", "results", **settings).to(name="second", handler=second, function="b")
function.add_child_function("a")
function.add_child_function("b")


def send(port, numbers, file):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for number in numbers:
        connection.request("POST", "/", b"%d" % number, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status == 202:
            os.write(file, b"%d\n" % number)


def main(url, begin, count, name):
    file = os.open(name, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    port, begin, end = int(url.rpartition(":")[2]), int(begin), int(begin) + int(count)

    def work(number):
        try:
            send(port, range(begin + number, end, THREADS), file)
        except (OSError, http.client.HTTPException):
            return  # the parent was killed

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
