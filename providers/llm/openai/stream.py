"""One streamed completion, chunk by chunk: text as it comes, tool calls once they are complete. Does no I/O."""

from collections.abc import Iterator
from typing import Any

import msgspec

from providers.base import Progress, ReplyCompleted, ReplyEvent, TextDelta, ToolCall
from providers.errors import ProviderMalformed, ProviderRejected
from providers.llm.openai.failures import of_vendor
from providers.llm.openai.settings import NAME

_STOP_REASONS = {"stop": "end"}
_DONE = b"[DONE]"
_SHOWN_BYTES = 80


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Tool(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    """A model that refuses says so in words of their own; what it thinks is for nobody's ear, and named in two ways."""

    content: str | None = None
    refusal: str | None = None
    reasoning: Any = None
    reasoning_content: Any = None
    tool_calls: list[_Tool] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | str | None = None


class Lines:
    """Data of server-sent events out of bytes that were cut anywhere. Only a line feed ends a line here: text may
    hold other characters that Unicode counts as line ends."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, received: bytes) -> Iterator[bytes]:
        """The data of each `data:` line that is complete now; all else in an event stream means nothing here."""
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


class _OpenTool:
    """A tool call whose arguments are still coming."""

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id
        self.name = ""
        self.arguments = ""

    def push(self, function: _Function) -> None:
        self.name = self.name or function.name or ""
        self.arguments += function.arguments or ""

    def close(self) -> ToolCall:
        if not self.name:
            raise ProviderMalformed(NAME, "a tool call without a name")
        try:
            arguments = msgspec.json.decode(self.arguments) if self.arguments.strip() else {}
        except msgspec.DecodeError:
            arguments = None
        if not isinstance(arguments, dict):
            detail = f"the arguments of {self.name} are no JSON object (cut short if OPENAI_MAX_TOKENS is too low)"
            raise ProviderMalformed(NAME, f"{detail}: {self.arguments[:_SHOWN_BYTES]!r}")
        return ToolCall(self.call_id, self.name, arguments)


class Completion:
    """Feed it the data of each event. `finished` once the server said `[DONE]`; `stop_reason` once the model stopped,
    and not all servers say `[DONE]` behind that."""

    def __init__(self) -> None:
        self.begun = False
        self.finished = False
        self.stop_reason: str | None = None
        self._tools: list[_OpenTool] = []
        self._indices: list[int | None] = []
        self._usage: dict[str, int] = {}
        self._chunk = msgspec.json.Decoder(_Chunk)

    def feed(self, data: bytes) -> Iterator[ReplyEvent]:
        """What a chunk adds to the reply. Raises `ProviderError` as `of_vendor` makes it of an error chunk,
        `ProviderRejected` for a filtered reply, `ProviderMalformed` for what the protocol does not allow."""
        if data == _DONE:
            self.finished = True
            return
        chunk = self._decoded(data)
        if chunk.error:
            raise of_vendor(chunk.error if isinstance(chunk.error, dict) else {"message": chunk.error})
        self.begun = True
        self._usage |= {name: count for name, count in (chunk.usage or {}).items() if type(count) is int}
        for choice in chunk.choices or ():
            delta = choice.delta or _Delta()
            if text := delta.content or delta.refusal:
                yield TextDelta(text)
            elif delta.reasoning or delta.reasoning_content:
                yield Progress("working")
            for piece in delta.tool_calls or ():
                self._push(piece)
                yield Progress("working")
            if choice.finish_reason and self.stop_reason is None:
                yield from self._stop(choice.finish_reason)

    def completed(self) -> ReplyCompleted:
        """The reply's end; only once it has stopped."""
        reason = self.stop_reason or ""
        return ReplyCompleted(_STOP_REASONS.get(reason, reason), self._usage)

    def _decoded(self, data: bytes) -> _Chunk:
        try:
            return self._chunk.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProviderMalformed(NAME, f"{error}: {data[:_SHOWN_BYTES]!r}") from error

    def _push(self, piece: _Tool) -> None:
        """A piece belongs to the call of its index, or without one to the last; another id begins another call."""
        at = next((at for at in reversed(range(len(self._tools))) if piece.index in (None, self._indices[at])), None)
        if at is None or (piece.id and piece.id != self._tools[at].call_id):
            if not piece.id:
                raise ProviderMalformed(NAME, "a tool call without an id")
            self._tools.append(_OpenTool(piece.id))
            self._indices.append(piece.index)
            at = len(self._tools) - 1
        self._tools[at].push(piece.function or _Function())

    def _stop(self, reason: str) -> Iterator[ToolCall]:
        if reason == "content_filter":
            raise ProviderRejected(NAME, "the reply was filtered: content_filter", of_request=True)
        if reason == "length" and self._tools and not self._tools[-1].arguments.strip():
            raise ProviderMalformed(NAME, "a tool call was cut short: OPENAI_MAX_TOKENS is too low")
        for tool in self._tools:
            yield tool.close()
        self.stop_reason = reason
