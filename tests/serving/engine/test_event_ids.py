"""Ids of events: 32 hex digits, never the same twice."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from millrace.serving.engine.event import Event, new_id


def test_ids_are_thirty_two_hex_digits_that_count():
    first, second = new_id(), new_id()
    assert int(second, 16) - int(first, 16) == 1 and len(first) == len(second) == 32


def test_threads_never_get_the_same_id():
    with ThreadPoolExecutor(8) as pool:
        batches = pool.map(lambda _: [Event().id for _ in range(5_000)], range(8))
    assert len({one for batch in batches for one in batch}) == 40_000


def test_forked_process_has_ids_of_its_own():
    code = """
import os
from millrace.serving.engine.event import new_id
mine = new_id()
child = os.fork()
if child:
    os.waitpid(child, 0)
print(new_id()[:20], flush=True)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert len(printed) == 2 and len(set(printed)) == 2
