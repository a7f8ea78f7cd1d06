"""Anthropic's Messages API on loopback: server-sent events as the vendor writes them.

It objects to what the vendor objects to, answers what a test scripts (else what it makes of the request itself), and
tells who hung up. Nothing in it knows the adapter or the SDK.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.fakes.http import Answer, HttpVendor, Received

KEY = "sk-ant-loopback"

# What the vendor says


def event(kind: str, **data: Any) -> bytes:
    """One server-sent event."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data}, ensure_ascii=False)}\n\n".encode()


PING = event("ping")


def start(**usage: int) -> bytes:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 20,
            "output_tokens": 1,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "service_tier": "standard",
            "cache_creation": {"ephemeral_5m_input_tokens": 0},
            **usage,
        },
    }
    return event("message_start", message=message)


def text(*pieces: str, index: int = 0) -> bytes:
    deltas = [
        event("content_block_delta", index=index, delta={"type": "text_delta", "text": piece}) for piece in pieces
    ]
    opened = event("content_block_start", index=index, content_block={"type": "text", "text": ""})
    return b"".join((opened, *deltas, event("content_block_stop", index=index)))


def tool_opened(call_id: str, name: str, index: int) -> bytes:
    block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
    return event("content_block_start", index=index, content_block=block)


def arguments(piece: str, index: int) -> bytes:
    return event("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": piece})


def tool(call_id: str, name: str, *pieces: str, index: int = 1) -> bytes:
    deltas = [arguments(piece, index) for piece in pieces]
    return b"".join((tool_opened(call_id, name, index), *deltas, event("content_block_stop", index=index)))


def end(reason: str | None = "end_turn", output_tokens: int = 12) -> bytes:
    return finished(reason, output_tokens) + event("message_stop")


def finished(reason: str | None = "end_turn", output_tokens: int = 12) -> bytes:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return event("message_delta", delta=delta, usage={"output_tokens": output_tokens})


def said(*pieces: str) -> Answer:
    """A healthy reply."""
    return Answer((start(), PING, text(*pieces), end()))


def error_body(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}


def refused(status: int, kind: str, message: str = "no", **headers: str) -> Answer:
    """An error before the stream; headers with _ for -."""
    body = json.dumps({**error_body(kind, message), "request_id": "req_1"}).encode()
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer((body,), status, {"content-type": "application/json", "request-id": "req_1", **more})


# What the vendor objects to


def objection(body: Mapping[str, Any]) -> str | None:
    """Why the vendor would answer 400 to this request; None if it would not."""
    missing = {"model", "max_tokens", "messages"} - set(body)
    if missing:
        return f"missing: {missing}"
    blocks = [block for message in body["messages"] for block in message["content"]]
    marked = [block for block in (*body.get("tools", ()), *body.get("system", ()), *blocks) if "cache_control" in block]
    if len(marked) > 4:
        return f"a maximum of 4 blocks with cache_control, found {len(marked)}"
    if any(block["type"] == "text" and not block["text"].strip() for block in (*blocks, *body.get("system", ()))):
        return "text content blocks must contain non-whitespace text"
    if len({spec["name"] for spec in body.get("tools", ())}) != len(body.get("tools", ())):
        return "tool names must be unique"
    return _objection_to_ids([block["id"] for block in blocks if block["type"] == "tool_use"]) or _objection_to_turns(
        body["messages"]
    )


def _objection_to_ids(ids: list[str]) -> str | None:
    if not all(re.fullmatch("[a-zA-Z0-9_-]+", call_id) for call_id in ids):
        return f"tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$': {ids}"
    return "tool_use ids must be unique" if len(set(ids)) < len(ids) else None


def _objection_to_turns(messages: list[dict[str, Any]]) -> str | None:
    for index, message in enumerate(messages):
        if message["role"] != ("user", "assistant")[index % 2]:
            return f"messages.{index}: roles must alternate, beginning with user"
        if not message["content"]:
            return f"messages.{index}: all messages must have non-empty content"
        kinds = [block["type"] for block in message["content"]]
        results = [block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"]
        if kinds[: len(results)] != ["tool_result"] * len(results):
            return f"messages.{index}: results come first"
        asked = [block["id"] for block in messages[index - 1]["content"] if block["type"] == "tool_use"]
        if sorted(asked if index else []) != sorted(results):
            return f"messages.{index}: tool_use ids without tool_result, or the other way: {asked} {results}"
    return None if messages and messages[-1]["role"] == "user" else "this model does not support prefill"


def own_answer(body: Mapping[str, Any]) -> Answer:
    """What it makes of a request by itself: always the same of the same, with a tool where the caller asks for one."""
    last = [block for block in body["messages"][-1]["content"] if not block.get("text", "").startswith("(now:")][-1]
    names = {spec["name"] for spec in body.get("tools", ())}
    call_id = f"toolu_{len(body['messages'])}"
    if last["type"] == "tool_result":
        return said("I looked at it ", f"and it says {last['content'][:20]}.")
    words = last["text"].lower()
    if "appointment" in words and "find_appointment" in names:
        spoken = text("Let me ", "see. ")
        return Answer((start(), spoken, tool(call_id, "find_appointment", "", "{}"), end("tool_use")))
    if ("goodbye" in words or "thank" in words) and "end_call" in names:
        return Answer((start(), text("Good", "bye."), tool(call_id, "end_call"), end("tool_use")))
    return said("You said: ", words, ". What else?")


class FakeAnthropic(HttpVendor):
    """The vendor: `async with FakeAnthropic() as vendor`, then `vendor.url`. Without scripted answers it thinks."""

    def __init__(self, *answers: Answer, key: str = KEY) -> None:
        super().__init__(*answers)
        self._key = key

    @property
    def environment(self) -> Mapping[str, str]:
        """What the adapter must be told to talk to this vendor."""
        return {"ANTHROPIC_API_KEY": self._key, **({"ANTHROPIC_BASE_URL": self.url} if self.url else {})}

    def choose(self, received: Received) -> Answer:
        """Objections first, then what was scripted, then its own thoughts."""
        given = received.headers.get("authorization", "").removeprefix("Bearer ") or received.headers.get("x-api-key")
        if received.path.startswith("/v1/models/"):
            self.asked_for_models.append(received)
            if self.model_answer is not None:
                return self.model_answer
        elif received.path == "/v1/messages":
            self.requests.append(received)
            self.arrived.set()
        else:
            return refused(404, "not_found_error", received.path)
        if given != self._key:
            return refused(401, "authentication_error", "invalid x-api-key")
        if received.method == "GET":
            model = {"type": "model", "id": received.path.rpartition("/")[2], "display_name": "M"}
            return Answer((json.dumps(model).encode(),), 200, {"content-type": "application/json"})
        wrong = objection(received.body)
        if wrong is not None:
            return refused(400, "invalid_request_error", wrong)
        return self.answers.popleft() if self.answers else own_answer(received.body)
