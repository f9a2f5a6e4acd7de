"""Where a function is deployed to, and what is chosen for it there."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from ...errors import SpecError, near
from .names import LONGEST_PROJECT, PREFIX, check_image, check_name

TARGETS = ("nuclio", "docker", "kubernetes", "compose")
OLDEST_PYTHON = (3, 11)
FOLDERS = {"nuclio": "/opt/nuclio"}
COMPOSE_KAFKA = "kafka://kafka:9092"


@dataclass(frozen=True, kw_only=True)
class Target:
    """One of the platforms, with the choices that are made for it.

    :param name: ``nuclio``, ``docker``, ``kubernetes`` or ``compose``
    :param python: the Python version of the image, ``"3.11"``
    :param image: the name of the image that is built
    :param streams: where queues are that have no address of their own: ``kafka://broker:9092``
    :param secret: the Kubernetes Secret of all secrets that refer to none
    :param wheel: the name of a wheel file in the image to install Millrace from
    :param kserve: let KServe run the function that answers requests
    :raises SpecError: there is no such target, no Millrace for this Python, or a name can not be

    >>> Target(name="nuclio", python="3.12").folder
    '/opt/nuclio'
    """

    name: str
    python: str = f"{sys.version_info.major}.{sys.version_info.minor}"
    image: str | None = None
    namespace: str | None = None
    streams: str | None = None
    secret: str | None = None
    wheel: str | None = None
    kserve: bool = False

    def __post_init__(self) -> None:
        if self.name not in TARGETS:
            hint = near(self.name, TARGETS) or f"; there are {', '.join(TARGETS)}"
            raise SpecError(f"there is no target '{self.name}'{hint}")
        if not re.fullmatch(r"3\.\d{1,2}", self.python) or self.version < OLDEST_PYTHON:
            raise SpecError(f"python='{self.python}' is no Python that Millrace runs on; give 3.11 or later, as '3.11'")
        if self.kserve and self.name != "kubernetes":
            raise SpecError(f"kserve= is for the target kubernetes, not for {self.name}")
        if self.namespace is not None:
            check_name(self.namespace, what="namespace", longest=LONGEST_PROJECT)
        if self.image is not None:
            check_image(self.image)
        if self.streams is not None and "://" not in self.streams:
            raise SpecError(f"streams='{self.streams}' is no address of streams; write it as 'kafka://broker:9092'")
        if self.secret is not None and not PREFIX.fullmatch(self.secret):
            raise SpecError(
                f"secret='{self.secret}' names no Kubernetes Secret, such as 'bank'; its keys are the secrets' "
                "names"
            )

    @property
    def version(self) -> tuple[int, int]:
        """The Python version as numbers."""
        major, minor = self.python.split(".")
        return int(major), int(minor)

    @property
    def folder(self) -> str:
        """The folder of the function's files in its image."""
        return FOLDERS.get(self.name, "/srv/function")

    @property
    def default_streams(self) -> str | None:
        """Where queues without an address are; compose brings a Kafka of its own."""
        return self.streams or (COMPOSE_KAFKA if self.name == "compose" else None)
