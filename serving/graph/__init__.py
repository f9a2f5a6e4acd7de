"""Graphs as plain data: building, checking, dumping and drawing them. Nothing here runs an event."""

from .checks import problems, validate
from .flow import FlowStep
from .options import StepOptions
from .router import RouterStep
from .step import QueueStep, Step, TaskStep

__all__ = ["FlowStep", "QueueStep", "RouterStep", "Step", "StepOptions", "TaskStep", "problems", "validate"]
