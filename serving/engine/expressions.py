"""Expressions in graphs; see :mod:`millrace.steps.expressions`."""

from ...steps.expressions import compile_expression, is_expression

__all__ = ["compile_expression", "is_expression"]
