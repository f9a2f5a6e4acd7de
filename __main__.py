"""The command ``millrace``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its status."""
    from .serving.cli.main import run  # noqa: PLC0415 - `import millrace.__main__` should load nothing

    sys.exit(run())


if __name__ == "__main__":
    main()
