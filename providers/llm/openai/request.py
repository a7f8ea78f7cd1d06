"""What the model is told: a house `ReplyRequest` as chat messages.

Turns alternate and begin with the user, as the chat templates of open models demand. These servers cache prefixes by
themselves, so what changes from request to request, the time, stands as late as it can: behind the caller's last words.
"""

import json
from typing import Any, assert_never

from providers.base import AgentMessage, CallerMessage, Message, ReplyRequest, ToolResult, ToolSpec

_NOTATION = (
    "This is a telephone call: what you write is spoken. "
    "Remarks in parentheses are notes of the telephone system; never speak any yourself."
)
_ANSWERED = CallerMessage("(The call was just answered. Greet the caller.)")
_VOLATILE = "now"


def messages(request: ReplyRequest) -> list[dict[str, Any]]:
    """The instructions and facts as the system's message, then the conversation."""
    said = request.messages
    if not said or not isinstance(said[0], CallerMessage):
        said = (_ANSWERED, *said)
    last_words = max(index for index, message in enumerate(said) if isinstance(message, CallerMessage))
    chat = [{"role": "system", "content": _system(request)}]
    for index, message in enumerate(said):
        turn = _turn(message)
        if turn is None:
            continue
        if index == last_words and request.variables.get(_VOLATILE):
            turn["content"] += f"\n(now: {request.variables[_VOLATILE]})"
        _append(chat, turn)
    return chat


def tools(specs: tuple[ToolSpec, ...]) -> list[dict[str, Any]]:
    """The tools as functions."""
    return [
        {
            "type": "function",
            "function": {"name": spec.name, "description": spec.description, "parameters": dict(spec.parameters)},
        }
        for spec in specs
    ]


def _system(request: ReplyRequest) -> str:
    facts = [f"{name}: {value}" for name, value in request.variables.items() if name != _VOLATILE]
    parts = (request.instructions.strip(), _NOTATION, "\n".join(("Facts of this call:", *facts)) if facts else "")
    return "\n\n".join(part for part in parts if part)


def _turn(message: Message) -> dict[str, Any] | None:
    """None for a reply of which nothing was heard."""
    match message:
        case CallerMessage():
            return {"role": "user", "content": _words(message)}
        case ToolResult(call_id, content, failed):
            told = f"failed: {content}" if failed else content
            return {"role": "tool", "tool_call_id": call_id, "content": told}
        case AgentMessage():
            return _reply(message)
        case _:
            assert_never(message)


def _words(message: CallerMessage) -> str:
    text = message.text.strip()
    if not text:
        return "(unintelligible)"
    return f"(keyed) {text}" if message.digits else text


def _reply(message: AgentMessage) -> dict[str, Any] | None:
    heard = message.text.strip()
    if heard and message.interrupted:
        heard = f"{heard} (interrupted by the caller)"
    turn: dict[str, Any] = {"role": "assistant", "content": heard}
    if message.tool_calls:
        turn["tool_calls"] = [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments), ensure_ascii=False)},
            }
            for call in message.tool_calls
        ]
    return turn if heard or message.tool_calls else None


def _append(chat: list[dict[str, Any]], turn: dict[str, Any]) -> None:
    """Join what one side said in a row; results of tools stay apart, and so does a reply behind its own calls."""
    last = chat[-1]
    if last["role"] == turn["role"] != "tool":
        last["content"] = "\n".join(text for text in (last["content"], turn["content"]) if text)
        if "tool_calls" in turn:
            last["tool_calls"] = turn["tool_calls"]
    else:
        chat.append(turn)
