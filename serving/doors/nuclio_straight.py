"""Messages of one partition straight through a graph that is one segment: nothing is made for them unless they fail."""

from __future__ import annotations

from typing import Any

from ...deferred import orjson
from ..engine.engine import Engine
from ..engine.lean import Scratch
from ..engine.messages import CONTENT_TYPE, JSON
from ..engine.unit import Segment
from .nuclio_ack import Place
from .nuclio_streams import Source
from .share import Share

NOT_HERE: Any = object()
"""Stands for the body of a message that has to go the longer way."""
_JSON = (JSON, JSON.encode())


class Straight:
    """The way of one partition's messages while each is done before the next one comes.

    :param source: a stream of Kafka, whose graph is `segment`
    """

    def __init__(self, engine: Engine, source: Source, segment: Segment, share: Share, place: Place) -> None:
        self.source = source
        self.share = share
        self.place = place
        self.scratch: Any = Scratch()
        self._engine = engine
        self._segment = segment
        self._is_json = source.wire.content_type in (None, JSON)

    def body(self, event: Any) -> Any:
        """The body of the partition's next message, which is delivered now; :data:`NOT_HERE` for what is not plain."""
        share = self.share
        if share.is_revoked or share.in_flight or event.offset < share.marks.position:
            return NOT_HERE
        kind = event.headers.get(CONTENT_TYPE) if event.headers else None
        if event.body.__class__ is not bytes or not (kind in _JSON or (kind is None and self._is_json)):
            return NOT_HERE
        try:
            body = orjson.loads(event.body)
        except ValueError:
            return NOT_HERE
        return body if share.marks.deliver(event.offset) else NOT_HERE

    def run(self, body: Any) -> None:
        """Run it.

        :raises Exception: it failed; :attr:`scratch` says where
        """
        self._segment.run(self._engine, self.scratch, body)
