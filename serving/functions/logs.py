"""Where the log of a process that serves goes."""

from __future__ import annotations

import logging

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
TALKATIVE = ("kafka", "millrace.queues")
"""Kafka's clients tell every attempt to reach a broker, hundreds of them, before the one error that counts."""


def set_up_logging(*, verbose: bool) -> None:
    """Let the log go to standard error, unless the program has set up its own.

    :param verbose: also what is of interest to who looks for a fault, and what the clients of streams have to say
    """
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
        for name in () if verbose else TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)
    if verbose:
        logging.getLogger("millrace").setLevel(logging.DEBUG)
