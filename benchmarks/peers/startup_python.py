"""From a new process to an answer of nothing but Python: what the others cannot get below."""

from first_answer import report

report((lambda x: x + 1)(1))
