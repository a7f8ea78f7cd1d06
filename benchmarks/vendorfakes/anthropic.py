"""Anthropic's Messages API with a stopwatch: the first token `FIRST_TOKEN_S` after the request, then `TOKENS_PER_S`."""

import asyncio
import json

from benchmarks.providers import FIRST_TOKEN_S, SHORT_REPLY, TOKENS_PER_S
from benchmarks.vendorfakes.wire import Connection, Request


def _event(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


_START = _event(
    "message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 20, "output_tokens": 1},
    },
) + _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
_END = (
    _event("content_block_stop", index=0)
    + _event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 12})
    + _event("message_stop")
)
_TOKENS = [
    _event("content_block_delta", index=0, delta={"type": "text_delta", "text": f" {word}" if place else word})
    for place, word in enumerate(SHORT_REPLY.split())
]


def answer(connection: Connection, request: Request) -> None:
    """The reply to one request, on time; a question about a model at once."""
    if not request.path.endswith("/messages"):
        connection.respond(json.dumps({"type": "model", "id": request.path.rpartition("/")[2]}).encode())
        return
    loop = asyncio.get_running_loop()
    first = loop.time() + FIRST_TOKEN_S
    connection.begin("text/event-stream; charset=utf-8")
    connection.chunk(_START)

    def token(number: int) -> None:
        if not connection.open:
            return
        connection.chunk(_TOKENS[number])
        if number + 1 < len(_TOKENS):
            loop.call_at(first + (number + 1) / TOKENS_PER_S, token, number + 1)
        else:
            connection.chunk(_END)
            connection.chunk(b"")

    loop.call_at(first, token, 0)
