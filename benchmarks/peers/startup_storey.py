"""From a new process to storey's first answer: a flow of one Map."""

from first_answer import report
from storey import Complete, Map, SyncEmitSource, build_flow

flow = build_flow([SyncEmitSource(), Map(lambda x: x + 1), Complete()]).run()
report(flow.emit(1).await_result())
flow.terminate(wait=True)
