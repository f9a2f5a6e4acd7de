"""The doors that a graph is asked through, by name."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # where the doors and the worker are
