"""Make the virtual environments of the peers ahead of a benchmark: `python benchmarks/prepare.py [PEER ...]`."""

import sys
from pathlib import Path

if "benchmarks" not in sys.modules:  # run by path: this directory has an http.py, which must not hide the library's
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.harness import venvs

if __name__ == "__main__":
    names = sys.argv[1:] or list(venvs.REQUIREMENTS)
    if unknown := set(names) - set(venvs.REQUIREMENTS):
        sys.exit(f"no such peer: {', '.join(sorted(unknown))}; known: {', '.join(venvs.REQUIREMENTS)}")
    sys.exit(0 if venvs.prepare(names) else 1)
