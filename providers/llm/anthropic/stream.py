"""One streamed message, event by event: text as it comes, tool calls once they are complete. Does no I/O.

The wire events are read here and not by the SDK's helper, because the helper takes a stream that just ends for a
complete one and parses a tool's arguments anew with every piece.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from providers.base import Progress, ReplyCompleted, ReplyEvent, TextDelta, ToolCall
from providers.errors import ProviderMalformed, ProviderRejected
from providers.llm.anthropic.failures import of_vendor
from providers.llm.anthropic.settings import NAME

_KNOWN = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
    }
)
"""All else, `ping` and what is yet to be invented, means nothing to a reply."""
_STOP_REASONS = {"end_turn": "end", "stop_sequence": "end"}
_GIVEN_UP = ("refusal", "model_context_window_exceeded")
"""Stop reasons of a reply that is none: the same request would end the same way."""
_SHOWN_CHARACTERS = 80


class _Kind(msgspec.Struct):
    type: str


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None


class _Delta(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Message(msgspec.Struct):
    usage: dict[str, Any] | None = None


class _Error(msgspec.Struct):
    type: str | None = None
    message: str | None = None


class _Event(msgspec.Struct):
    """Every event of the stream; those fields are set that belong to its type."""

    type: str
    index: int | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    message: _Message | None = None
    usage: dict[str, Any] | None = None
    error: _Error | None = None


class _OpenTool:
    """A tool call whose arguments are still coming."""

    def __init__(self, block: _Block) -> None:
        if not block.id or not block.name:
            raise ProviderMalformed(NAME, "a tool call without id or name")
        self._call_id = block.id
        self._name = block.name
        self._given = block.input
        self._pieces: list[str] = []

    def push(self, piece: str) -> None:
        self._pieces.append(piece)

    def close(self) -> ToolCall:
        text = "".join(self._pieces)
        try:
            arguments = msgspec.json.decode(text) if text.strip() else (self._given or {})
        except msgspec.DecodeError:
            arguments = None
        if not isinstance(arguments, dict):
            detail = f"the arguments of {self._name} are no JSON object (cut short if ANTHROPIC_MAX_TOKENS is too low)"
            raise ProviderMalformed(NAME, f"{detail}: {text[:_SHOWN_CHARACTERS]!r}")
        return ToolCall(self._call_id, self._name, arguments)

    @property
    def bare(self) -> bool:
        """No argument has come, not even that there are none."""
        return not any(map(str.strip, self._pieces)) and not self._given


class MessageStream:
    """Feed it the data of each server-sent event. `completed` is set at the message's end, never before."""

    def __init__(self) -> None:
        self.begun = False
        self.completed: ReplyCompleted | None = None
        self._tools: dict[int | None, _OpenTool] = {}
        self._bare: ToolCall | None = None
        """A complete call, unless it turns out to have been cut short before its first argument."""
        self._usage: dict[str, int] = {}
        self._prompt_tokens: dict[str, int] = {}
        self._stop_reason: str | None = None
        self._event = msgspec.json.Decoder(_Event)
        self._kind = msgspec.json.Decoder(_Kind)

    def feed(self, data: str) -> Iterator[ReplyEvent]:
        """What the event adds to the reply. Raises `ProviderError`: an error event as the vendor names it,
        `ProviderRejected` for a refusal, `ProviderMalformed` for what the protocol does not allow."""
        event = self._decoded(data)
        if event is None:
            return
        self.begun = True
        if event.type.startswith("content_block") and self._bare is not None:
            yield self._take_bare()  # the reply went on behind it
        match event.type:
            case "message_start":
                self._count(event.message.usage if event.message else None)
                self._prompt_tokens = {name: count for name, count in self._usage.items() if "input" in name and count}
            case "content_block_start":
                yield from self._start(event)
            case "content_block_delta":
                yield from self._delta(event)
            case "content_block_stop" if event.index in self._tools:
                yield from self._close(self._tools.pop(event.index))
            case "message_delta":
                self._count(event.usage)
                yield from self._stop(event.delta or _Delta())
            case "message_stop":
                self.completed = self._complete()
            case "error":
                named = event.error or _Error()
                raise of_vendor(named.type, named.message or "no message")

    def take_prompt_tokens(self) -> Mapping[str, int]:
        """What was read is billed even if nobody waits for the reply: its tokens, once they are known, once."""
        tokens, self._prompt_tokens = self._prompt_tokens, {}
        return tokens

    def _decoded(self, data: str) -> _Event | None:
        try:
            known = bool(data) and self._kind.decode(data).type in _KNOWN
            return self._event.decode(data) if known else None
        except msgspec.DecodeError as error:
            raise ProviderMalformed(NAME, f"{error}: {data[:_SHOWN_CHARACTERS]!r}") from error

    def _start(self, event: _Event) -> Iterator[TextDelta | Progress]:
        block = event.content_block
        if block is None:
            raise ProviderMalformed(NAME, "a content block without content")
        if block.type == "tool_use":
            self._tools[event.index] = _OpenTool(block)
            yield Progress("working")
        elif block.type == "text" and block.text:
            yield TextDelta(block.text)

    def _delta(self, event: _Event) -> Iterator[TextDelta | Progress]:
        delta = event.delta or _Delta()
        if delta.type == "text_delta" and delta.text:
            yield TextDelta(delta.text)
        elif delta.type == "input_json_delta" and event.index in self._tools:
            self._tools[event.index].push(delta.partial_json or "")
            yield Progress("working")

    def _close(self, tool: _OpenTool) -> Iterator[ToolCall]:
        call = tool.close()
        if tool.bare:
            self._bare = call
        else:
            yield call

    def _take_bare(self) -> ToolCall:
        assert self._bare is not None, "because: whoever asks has looked"
        call, self._bare = self._bare, None
        return call

    def _stop(self, delta: _Delta) -> Iterator[ToolCall]:
        self._stop_reason = delta.stop_reason or self._stop_reason
        if self._bare is None or self._stop_reason is None or self._stop_reason in _GIVEN_UP:
            return
        if self._stop_reason == "max_tokens":
            raise ProviderMalformed(NAME, "a tool call was cut short: ANTHROPIC_MAX_TOKENS is too low")
        yield self._take_bare()

    def _count(self, usage: dict[str, Any] | None) -> None:
        """Later counts replace earlier ones: the vendor's are cumulative."""
        self._usage |= {name: count for name, count in (usage or {}).items() if type(count) is int}

    def _complete(self) -> ReplyCompleted:
        if self._stop_reason is None:
            raise ProviderMalformed(NAME, "the message stopped without a reason")
        if self._stop_reason in _GIVEN_UP:
            raise ProviderRejected(NAME, f"the model gave up: {self._stop_reason}", of_request=True)
        if self._tools:
            raise ProviderMalformed(NAME, "the message stopped within a tool call")
        return ReplyCompleted(_STOP_REASONS.get(self._stop_reason, self._stop_reason), self._usage)
