"""Where the log of a process that serves goes."""

from __future__ import annotations

import logging

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def set_up_logging(*, verbose: bool) -> None:
    """Let the log go to standard error, unless the program has set up its own."""
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    if verbose:
        logging.getLogger("millrace").setLevel(logging.DEBUG)
