"""What was said: the third truth of a call. A fold over the journal, and the context that a model gets.

The agent's part holds only what the caller *heard*. A reply that nobody heard a word of never happened; a tool that
ran did, and every tool call in the context has exactly one result, also when its reply was interrupted: of a tool that
was cut off at work, that nobody knows, unless it does its work once however often it is called.
"""

from dataclasses import dataclass, field

from app.calls.journal import CallerSaid, JournalEvent, ReplyEnded, ToolCalled, ToolReturned, TransferFailed
from app.conversation.results import CANCELLED_RESULT, UNKNOWN_RESULT
from app.conversation.tools import TRANSFER_CALL
from providers.base import AgentMessage, CallerMessage, Message, ToolCall, ToolResult


@dataclass(slots=True)
class _Part:
    """One model request's share of a reply: text, then perhaps tool calls and their results."""

    said: str
    calls: list[ToolCall] = field(default_factory=list)
    results: list[ToolResult] = field(default_factory=list)
    repeatable: set[str] = field(default_factory=set)
    """Calls of tools that are idempotent."""

    def result(self, call: ToolCall) -> ToolResult:
        """The one result of a call."""
        for result in self.results:
            if result.call_id == call.call_id:
                return result
        cut_off = CANCELLED_RESULT if call.call_id in self.repeatable else UNKNOWN_RESULT
        return ToolResult(call.call_id, cut_off, failed=True)


class Transcript:
    """Apply journal events in order; read `messages`. Any prefix of a journal gives a valid context."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._parts: list[_Part] = []  # of the reply in progress
        self._turn: int | None = None

    @classmethod
    def fold(cls, events: list[JournalEvent]) -> "Transcript":
        """The transcript of a journal."""
        transcript = cls()
        for event in events:
            transcript.apply(event)
        return transcript

    def apply(self, event: JournalEvent) -> None:
        """Take one event; those that say nothing are passed over."""
        match event:
            case CallerSaid(text=text, digits=digits):
                self._messages.append(CallerMessage(text, digits))
            case ToolCalled():
                self._tool_called(event)
            case ToolReturned():
                self._tool_returned(event)
            case ReplyEnded():
                self._reply_ended(event)
            case TransferFailed():
                self._transfer_failed(event)
            case _:
                pass

    def messages(self, said: CallerMessage | None = None) -> tuple[Message, ...]:
        """The context for the next request of the model: heard replies only, the caller's fragments joined, and each
        tool call followed by its one result. A reply in progress counts as heard so far as its tools go. `said`: as it
        would be if the caller had said this."""
        last = [said] if said is not None else []
        return tuple(_joined([*self._messages, *_parts_as_messages(self._parts, heard_words=None), *last]))

    @property
    def before_tools(self) -> str:
        """What the reply in progress had said before it asked for its last tools."""
        return " ".join(part.said for part in self._parts)

    def _tool_called(self, event: ToolCalled) -> None:
        self._turn = event.turn
        if not self._parts or self._parts[-1].results or event.said:
            self._parts.append(_Part(event.said))
        self._parts[-1].calls.append(ToolCall(event.tool_call_id, event.name, event.arguments))
        if event.idempotent:
            self._parts[-1].repeatable.add(event.tool_call_id)

    def _tool_returned(self, event: ToolReturned) -> None:
        for part in self._parts:
            known = {result.call_id for result in part.results}
            if any(call.call_id == event.tool_call_id for call in part.calls) and event.tool_call_id not in known:
                part.results.append(ToolResult(event.tool_call_id, event.content, event.failed))

    def _reply_ended(self, event: ReplyEnded) -> None:
        parts = self._parts if self._turn == event.turn else []
        said_before = " ".join(part.said for part in parts)
        rest = event.said.split()[len(said_before.split()) :]
        parts = [*parts, _Part(" ".join(rest))]
        heard_words = len(event.heard.split())
        self._messages += _parts_as_messages(parts, heard_words)
        self._parts = []
        self._turn = None

    def _transfer_failed(self, event: TransferFailed) -> None:
        """A tool like any other, as far as the model is concerned, with a result that it has to tell the caller."""
        call = ToolCall(f"transfer-{len(self._messages)}", TRANSFER_CALL.name, {"reason": event.asked_for})
        self._messages += [
            AgentMessage("", tool_calls=(call,)),
            ToolResult(call.call_id, f"nobody took over: {event.reason}", failed=True),
        ]


def _parts_as_messages(parts: list[_Part], heard_words: int | None) -> list[Message]:
    """Messages of a reply of which `heard_words` words were heard (None: all)."""
    messages: list[Message] = []
    left = heard_words
    for part in parts:
        words = part.said.split()
        heard = words if left is None else words[:left]
        left = None if left is None else left - len(heard)
        interrupted = len(heard) < len(words)
        if heard or part.calls:
            messages.append(AgentMessage(" ".join(heard), interrupted, tuple(part.calls)))
        messages += [part.result(call) for call in part.calls]
    return messages


def _joined(messages: list[Message]) -> list[Message]:
    """What the caller said in pieces, with no heard reply between, is one message."""
    joined: list[Message] = []
    for message in messages:
        previous = joined[-1] if joined else None
        if isinstance(message, CallerMessage) and isinstance(previous, CallerMessage):
            if previous.digits == message.digits:
                joined[-1] = CallerMessage(f"{previous.text} {message.text}".strip(), message.digits)
            else:
                joined[-1] = CallerMessage(f"{previous.text} {message.text}".strip())
        else:
            joined.append(message)
    return joined
