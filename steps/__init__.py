"""The step library: what a graph node does to an event.

A step is named in a graph as ``"millrace.steps.Filter"``, ``"storey.Filter"`` or by its class.
"""

from .base import DROPPED, HoldingStep, LibraryStep
from .batch import Batch
from .choice import Choice, ChoiceByField
from .each import Extend, Filter, FlatMap, Flatten, ForEach, Map, MapClass
from .merge import Merge
from .remote import BatchHttpRequests, RemoteStep

__all__ = [
    "DROPPED", "Batch", "BatchHttpRequests", "Choice", "ChoiceByField", "Extend", "Filter", "FlatMap", "Flatten",
    "ForEach", "HoldingStep", "LibraryStep", "Map", "MapClass", "Merge", "RemoteStep",
]  # fmt: skip
