"""From a new process to FastAPI's first answer, called in process as a server would call it."""

import asyncio
import json

from fastapi import FastAPI
from first_answer import report

app = FastAPI()


@app.post("/")
async def increment(x: int) -> int:
    return x + 1


async def first_answer() -> int:
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": "/", "raw_path": b"/", "root_path": "",
        "scheme": "http", "query_string": b"x=1", "headers": [], "client": None, "server": None,
    }  # fmt: skip
    sent = []

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return json.loads(b"".join(message.get("body", b"") for message in sent))


report(asyncio.run(first_answer()))
