"""What the model is told: a house `ReplyRequest` as system blocks, tools and alternating turns.

The vendor caches prefixes, in the order tools, system, messages, up to a breakpoint; one changed byte before it and
nothing is found. So the request is laid out from what never changes to what always does:

    tools ▪ instructions ▪ facts of the call, the conversation up to the caller's last words ▪ the time, tools' results
            (process)                               (call)                                    (this request)

with a breakpoint at each ▪. They cost nothing by themselves; a prefix too short to be cached is passed over.
Tool rounds stay behind the last one: until the reply has ended nobody knows what of it the caller will have heard.
"""

import re
from collections.abc import Mapping
from typing import Literal, TypeAlias, assert_never

from anthropic.types import (
    CacheControlEphemeralParam,
    MessageParam,
    TextBlockParam,
    ToolParam,
    ToolResultBlockParam,
    ToolUseBlockParam,
)

from providers.base import AgentMessage, CallerMessage, Message, ReplyRequest, ToolResult, ToolSpec

Block: TypeAlias = TextBlockParam | ToolUseBlockParam | ToolResultBlockParam
Role: TypeAlias = Literal["user", "assistant"]

_BREAKPOINT: CacheControlEphemeralParam = {"type": "ephemeral"}
_NOTATION = (
    "This is a telephone call: what you write is spoken. "
    "Remarks in parentheses are notes of the telephone system; never speak any yourself."
)
_ANSWERED = CallerMessage("(The call was just answered. Greet the caller.)")
"""Stands before a conversation that the agent began: the vendor wants a user to speak first."""
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_VOLATILE = "now"
"""The variable that changes from one request to the next."""


def system(request: ReplyRequest) -> list[TextBlockParam]:
    """The instructions, cached, and then the facts that only this call has."""
    instructions = f"{request.instructions.strip()}\n\n{_NOTATION}".strip()
    blocks: list[TextBlockParam] = [{"type": "text", "text": instructions, "cache_control": _BREAKPOINT}]
    facts = [f"{name}: {value}" for name, value in request.variables.items() if name != _VOLATILE]
    if facts:
        blocks.append(_text("Facts of this call:\n" + "\n".join(facts)))
    return blocks


def tools(specs: tuple[ToolSpec, ...]) -> list[ToolParam]:
    """The tools, cached, whatever instructions follow them."""
    params = [_tool(spec) for spec in specs]
    if params:
        params[-1]["cache_control"] = _BREAKPOINT
    return params


def messages(request: ReplyRequest) -> list[MessageParam]:
    """The conversation in turns that alternate and begin with the user; results stand right behind their calls."""
    said = request.messages
    if not said or not isinstance(said[0], CallerMessage):
        said = (_ANSWERED, *said)
    last_words = max(index for index, message in enumerate(said) if isinstance(message, CallerMessage))
    turns: list[tuple[Role, list[Block]]] = []
    ids = _ToolIds()
    for index, message in enumerate(said):
        role, blocks = _turn(message, ids)
        if index == last_words:
            blocks = _latest(blocks, request.variables)
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        elif blocks:
            turns.append((role, blocks))
    return [_message(role, blocks) for role, blocks in turns]


def _message(role: Role, blocks: list[Block]) -> MessageParam:
    if role == "user":
        return {"role": "user", "content": blocks}
    return {"role": "assistant", "content": blocks}


class _ToolIds:
    """The calls' ids as this vendor takes them: unique, of few kinds of characters. In a conversation that another
    model had begun they may be neither."""

    def __init__(self) -> None:
        self._unanswered: dict[str, list[str]] = {}
        self._taken: set[str] = set()

    def of_call(self, call_id: str) -> str:
        """The id of a new call."""
        ours, number = call_id, len(self._taken)
        while ours in self._taken or not _TOOL_ID.fullmatch(ours):
            number += 1
            ours = f"call_{number}"
        self._taken.add(ours)
        self._unanswered.setdefault(call_id, []).append(ours)
        return ours

    def of_result(self, call_id: str) -> str:
        """The id of the first call of that id that has no result yet: results come in the order of their calls."""
        unanswered = self._unanswered.get(call_id)
        return unanswered.pop(0) if unanswered else call_id


def _turn(message: Message, ids: _ToolIds) -> tuple[Role, list[Block]]:
    match message:
        case CallerMessage():
            return "user", [_text(_words(message))]
        case ToolResult(call_id, content, failed):
            call_id = ids.of_result(call_id)
            return "user", [{"type": "tool_result", "tool_use_id": call_id, "content": content, "is_error": failed}]
        case AgentMessage():
            return "assistant", _reply(message, ids)
        case _:
            assert_never(message)


def _words(message: CallerMessage) -> str:
    text = message.text.strip()
    if not text:
        return "(unintelligible)"
    return f"(keyed) {text}" if message.digits else text


def _reply(message: AgentMessage, ids: _ToolIds) -> list[Block]:
    """Nothing at all for a reply of which nothing was heard: the vendor takes no empty text."""
    blocks: list[Block] = []
    heard = message.text.strip()
    if heard:
        blocks.append(_text(f"{heard} (interrupted by the caller)" if message.interrupted else heard))
    for call in message.tool_calls:
        call_id = ids.of_call(call.call_id)
        blocks.append({"type": "tool_use", "id": call_id, "name": call.name, "input": dict(call.arguments)})
    return blocks


def _latest(blocks: list[Block], variables: Mapping[str, str]) -> list[Block]:
    """The caller's last words as the end of what is cached, and behind them the time."""
    latest: list[Block] = [_text(block["text"], cached=True) for block in blocks if block["type"] == "text"]
    if variables.get(_VOLATILE):
        latest.append(_text(f"(now: {variables[_VOLATILE]})"))
    return latest


def _text(text: str, *, cached: bool = False) -> TextBlockParam:
    if cached:
        return {"type": "text", "text": text, "cache_control": _BREAKPOINT}
    return {"type": "text", "text": text}


def _tool(spec: ToolSpec) -> ToolParam:
    return {"name": spec.name, "description": spec.description, "input_schema": dict(spec.parameters)}
