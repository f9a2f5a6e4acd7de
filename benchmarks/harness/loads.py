"""Starts a load generator on a core of its own: wrk when it is there, our own client otherwise."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .machine import pinned_to
from .venvs import PeerUnavailable

OWN_CLIENT = Path(__file__).with_name("load.py")
MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Request:
    """What is sent: the same bytes each time."""

    path: str
    body: bytes
    headers: dict[str, str]

    def encoded(self, port: int) -> bytes:
        fields = {"Host": f"127.0.0.1:{port}", **self.headers, "Content-Length": str(len(self.body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + self.body


@dataclass(frozen=True)
class Load:
    """What came of it. `client_busy` near 1.0 means that the client was the limit; wrk does not tell (0.0)."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    all_answers: int
    failures: int
    reconnects: int = 0
    client_busy: float = 0.0


def generator() -> str:
    """The name of the load generator, for the footer."""
    return "wrk" if shutil.which("wrk") else "asyncio client"


def put_load(request: Request, port: int, *, connections: int, seconds: float, core: int) -> Load:
    """Keep `connections` requests under way for `seconds`. Raises PeerUnavailable when the server does not keep up."""
    run = _wrk if shutil.which("wrk") else _own
    return run(request, port, connections=connections, seconds=seconds, core=core)


def _own(request: Request, port: int, *, connections: int, seconds: float, core: int) -> Load:
    command = [sys.executable, str(OWN_CLIENT), str(port), str(connections), str(seconds)]
    return Load(**json.loads(_output(command, request.encoded(port), seconds, core)))


def _wrk(request: Request, port: int, *, connections: int, seconds: float, core: int) -> Load:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f'wrk.method = "POST"\nwrk.body = "{_lua_escaped(request.body)}"\n')
        script.writelines(f'wrk.headers["{name}"] = "{value}"\n' for name, value in request.headers.items())
        script.flush()
        url = f"http://127.0.0.1:{port}{request.path}"
        # wrk takes whole seconds only.
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "--latency"]
        return parsed(_output([*command, "-s", script.name, url], b"", seconds, core))


def _lua_escaped(body: bytes) -> str:
    return "".join(f"\\{byte:03d}" for byte in body)


def parsed(report: str) -> Load:
    """The numbers of wrk's own report."""
    found = {
        name: re.search(pattern, report)
        for name, pattern in {
            "rate": r"Requests/sec:\s+([\d.]+)",
            "total": r"(\d+) requests in",
            "p50": r"50%\s+([\d.]+)(us|ms|s|m)\b",
            "p99": r"99%\s+([\d.]+)(us|ms|s|m)\b",
            "failures": r"Non-2xx or 3xx responses: (\d+)",
            "lost": r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)",
        }.items()
    }
    rate, total, p50, p99 = (found[name] for name in ("rate", "total", "p50", "p99"))
    if not (rate and total and p50 and p99):
        raise PeerUnavailable(f"wrk reported nothing: {report[-100:]!r}")
    return Load(
        requests_per_second=float(rate[1]),
        p50_ms=float(p50[1]) * MILLISECONDS[p50[2]],
        p99_ms=float(p99[1]) * MILLISECONDS[p99[2]],
        all_answers=int(total[1]),
        failures=(int(found["failures"][1]) if found["failures"] else 0)
        + (sum(int(count) for count in found["lost"].groups()) if found["lost"] else 0),
    )


def _output(command: list[str], stdin: bytes, seconds: float, core: int) -> str:
    with pinned_to(core):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(stdin, timeout=seconds + 60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise PeerUnavailable("the load did not end") from None
    if process.returncode:
        words = err.decode(errors="replace").strip().splitlines() or ["no word"]
        raise PeerUnavailable(words[-1][:120])
    return out.decode()
