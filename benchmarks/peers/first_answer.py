"""Says when this process had its first answer, and what it weighs then. Standard library only."""

import json
import os
import sys
import time
from pathlib import Path


def report(answer: object) -> None:
    """One JSON line. `at` is on the system-wide monotonic clock, so that the starting process can subtract its own."""
    at = time.clock_gettime(time.CLOCK_MONOTONIC)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident = pages * os.sysconf("SC_PAGE_SIZE")
    print(json.dumps({"at": at, "answer": answer, "modules": len(sys.modules), "resident_bytes": resident}), flush=True)
