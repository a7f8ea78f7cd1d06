"""A server of OpenAI's chat completions on loopback: it objects, streams chunks, and says `[DONE]`."""

import json
from collections.abc import Mapping
from typing import Any

from tests.fakes.http import Answer, HttpVendor, Received

KEY = "sk-loopback"
MODEL = "small"
DONE = b"data: [DONE]\n\n"


def chunk(delta: Mapping[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    """One chunk; without a delta one without choices."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": choices, **more}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


START = chunk({"role": "assistant", "content": ""}, usage=None)
USAGE = chunk(usage={"prompt_tokens": 20, "completion_tokens": 12, "prompt_tokens_details": {"cached_tokens": 0}})


def text(*pieces: str) -> bytes:
    return b"".join(chunk({"content": piece}) for piece in pieces)


def tool_piece(arguments: str, index: int | None = 0, call_id: str | None = None, name: str | None = None) -> bytes:
    piece: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if call_id is not None:
        piece |= {"id": call_id, "type": "function"}
    if name is not None:
        piece["function"]["name"] = name
    return chunk({"tool_calls": [piece]})


def end(reason: str = "stop") -> bytes:
    return chunk({}, reason) + USAGE + DONE


def said(*pieces: str) -> Answer:
    """A healthy reply."""
    return Answer((START, text(*pieces), end()))


def refused(status: int, kind: str, message: str = "no", **headers: str) -> Answer:
    """An error before the stream; headers with _ for -."""
    body = json.dumps({"error": {"message": message, "type": kind, "code": None, "param": None}}).encode()
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer((body,), status, {"content-type": "application/json", **more})


def objection(body: Mapping[str, Any]) -> str | None:
    """Why a strict server would answer 400 to this request; None if it would not."""
    first, *turns = body["messages"]
    if first["role"] != "system" or any(turn["role"] == "system" for turn in turns):
        return "exactly one system message, and it comes first"
    waiting: list[str] = []
    previous = "assistant"
    for turn in turns:
        role = turn["role"]
        if role == "tool":
            if turn["tool_call_id"] not in waiting:
                return f"nobody called for {turn['tool_call_id']}"
            waiting.remove(turn["tool_call_id"])
        elif waiting:
            return f"calls without results: {waiting}"
        elif role == previous:
            return "roles must alternate, beginning with user"
        elif not turn["content"].strip() and "tool_calls" not in turn:
            return "empty content"
        waiting += [call["id"] for call in turn.get("tool_calls", ())]
        previous = role
    return None if turns and turns[-1]["role"] in ("user", "tool") else "nothing to answer"


def own_answer(body: Mapping[str, Any]) -> Answer:
    """What it makes of a request by itself: always the same of the same, with a tool where the caller asks for one."""
    last = body["messages"][-1]
    names = {spec["function"]["name"] for spec in body.get("tools", ())}
    call_id = f"call_{len(body['messages'])}"
    if last["role"] == "tool":
        return said("I looked at it ", f"and it says {last['content'][:20]}.")
    words = last["content"].partition("\n(now")[0].lower()
    if "appointment" in words and "find_appointment" in names:
        call = tool_piece("", 0, call_id, "find_appointment") + tool_piece("{", 0) + tool_piece("}", 0)
        return Answer((START, text("Let me ", "see. "), call, end("tool_calls")))
    if ("goodbye" in words or "thank" in words) and "end_call" in names:
        return Answer((START, text("Good", "bye."), tool_piece("", 0, call_id, "end_call"), end("tool_calls")))
    return said("You said: ", words, ". What else?")


class FakeOpenAI(HttpVendor):
    """The server: `async with FakeOpenAI() as vendor`, then `vendor.url`. Without scripted answers it thinks."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What the adapter must be told to talk to this server."""
        return {"OPENAI_API_KEY": KEY, "OPENAI_MODEL": MODEL, **({"OPENAI_BASE_URL": self.url} if self.url else {})}

    def choose(self, received: Received) -> Answer:
        """Objections first, then what was scripted, then its own thoughts."""
        if received.path.startswith("/models/"):
            self.asked_for_models.append(received)
            if self.model_answer is not None:
                return self.model_answer
        elif received.path == "/chat/completions":
            self.requests.append(received)
            self.arrived.set()
        else:
            return refused(404, "invalid_request_error", received.path)
        if received.headers.get("authorization") != f"Bearer {KEY}":
            return refused(401, "invalid_request_error", "Incorrect API key provided")
        if received.method == "GET":
            return Answer((json.dumps({"id": MODEL}).encode(),), 200, {"content-type": "application/json"})
        wrong = objection(received.body)
        if wrong is not None:
            return refused(400, "invalid_request_error", wrong)
        return self.answers.popleft() if self.answers else own_answer(received.body)
