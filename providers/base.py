"""The three Protocols that every provider implements, and the values that cross them.

All three are async context managers: entering starts what the process shares (worker processes, connection pools,
models), leaving ends it. Closing an iterator *is* cancellation: there is no other stop. Audio formats are negotiated
so that µ-law is never transcoded without need.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from telephony.audio import AudioFormat
from telephony.clock import Clock

# Speech to text


@dataclass(frozen=True, slots=True)
class PartialTranscript:
    """What the recogniser makes of the utterance so far; replaces the partial before it.

    `stable`: the provider would bet on these words (they may hold the agent or start a reply). `complete`: as far as
    grammar or vendor can tell the caller could stop here, so the ear may wait less.
    """

    text: str
    stable: bool = False
    complete: bool = False


@dataclass(frozen=True, slots=True)
class FinalTranscript:
    """Words that will not change; a turn's text is its finals joined. Empty `text`: sound, but nothing understood.

    `confidence` is 0..1, None where the provider has no such notion. `finalized`: this answers `finalize()`.
    `ends_turn`: by the provider's own endpointing the caller is done; nobody needs to ask.
    """

    text: str
    confidence: float | None = None
    finalized: bool = False
    ends_turn: bool = False


@dataclass(frozen=True, slots=True)
class RecognitionGap:
    """`lost_ms` of the caller's audio was never recognised (overflow, reconnect)."""

    lost_ms: float
    reason: str


RecognitionEvent = PartialTranscript | FinalTranscript | RecognitionGap


class Recognition(Protocol):
    """Recognition of one call's audio, from answer to hang-up. Iterating raises `ProviderError` when it is lost."""

    def send(self, audio: bytes) -> None:
        """Take audio in the opened format. Never blocks: a full buffer drops its oldest and reports a gap."""
        ...

    def finalize(self) -> None:
        """The caller's turn seems over: answer with a `FinalTranscript(finalized=True)` at once, empty or not."""
        ...

    def __aiter__(self) -> AsyncIterator[RecognitionEvent]: ...


class SpeechToText(Protocol):
    name: str

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def formats(self) -> tuple[AudioFormat, ...]:
        """Formats that `open` takes, best first."""
        ...

    def open(self, audio: AudioFormat) -> AbstractAsyncContextManager[Recognition]:
        """Recognition for one call. Entering raises `ProviderError` when it cannot start; leaving ends it."""
        ...


# Language model


@dataclass(frozen=True, slots=True)
class CallerMessage:
    """One turn of the caller, as recognised. `digits`: it was keyed, not spoken."""

    text: str
    digits: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model asks for a tool. `call_id` ties the result to it."""

    call_id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AgentMessage:
    """One reply of the agent: only what the caller *heard* of it. `interrupted`: there was more."""

    text: str
    interrupted: bool = False
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered; every `ToolCall` in a context has exactly one."""

    call_id: str
    content: str
    failed: bool = False


Message = CallerMessage | AgentMessage | ToolResult


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it; `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReplyRequest:
    """Everything a model may know. `variables` holds the call's facts (caller, called, today, …) by name.

    `messages` may be empty (the agent speaks first) and always ends with the caller or with tool results otherwise.
    """

    messages: tuple[Message, ...]
    instructions: str = ""
    tools: tuple[ToolSpec, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the reply's text; the reply is their plain concatenation."""

    text: str


@dataclass(frozen=True, slots=True)
class ReplyCompleted:
    """The last event of a reply that was not cut short. `usage` counts by the vendor's own names."""

    stop_reason: str = "end"
    usage: Mapping[str, int] = field(default_factory=dict)


ReplyEvent = TextDelta | ToolCall | ReplyCompleted


class LanguageModel(Protocol):
    name: str

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyEvent, None]:
        """Stream one reply, ending with `ReplyCompleted`. Raises `ProviderError`. Holds no state between replies."""
        ...


@dataclass(frozen=True, slots=True)
class Grammar:
    """What a dialogue expects to hear, for a recogniser that must be told: a JSGF grammar (W3C note, 2000) whose
    only public rule is `<turn>`, and sentences to train a language model on; lower case, words only."""

    jsgf: str
    sentences: tuple[str, ...]


# Text to speech


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """One word as written in the text given to `speak`, and where it sounds, in samples from the first sample of its
    `SpeechChunk`; `end` may lie beyond the chunk when the word goes on in the next."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """Audio in the format asked for, whole samples, with the words that begin in it, in order.

    The words of all chunks of one `speak`, in order, are the words of its text: none skipped, none doubled.
    """

    audio: bytes
    words: tuple[SpokenWord, ...] = ()


class TextToSpeech(Protocol):
    name: str

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def formats(self) -> tuple[AudioFormat, ...]:
        """Formats that `speak` yields, best first."""
        ...

    def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechChunk, None]:
        """Speak pieces of text (clauses or sentences, as they come) as one utterance. Raises `ProviderError`.

        Speech of the first piece is yielded without waiting for the second.
        """
        ...


# Construction


@dataclass(frozen=True, slots=True)
class ProviderContext:
    """What a provider may know when it is built. `environment` is the process environment merged with `.env`."""

    environment: Mapping[str, str]
    clock: Clock
    grammar: Grammar | None = None
    """The active dialogue's grammar; None when a vendor's model leads the conversation."""
