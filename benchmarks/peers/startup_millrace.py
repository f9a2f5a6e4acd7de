"""From a new process to Millrace's first answer: a flow of one step on the mock server."""

from first_answer import report

import millrace

function = millrace.new_function("bench", kind="serving")
function.set_topology("flow", engine="sync").to(name="increment", handler=lambda x: x + 1).respond()
report(function.to_mock_server().test(body=1))
