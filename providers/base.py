"""The three Protocols that every provider implements, and the values that cross them.

All three are async context managers: entering starts what the process shares (worker processes, connection pools,
models), leaving ends it. Closing an iterator *is* cancellation: there is no other stop. Audio formats are negotiated
so that µ-law is never transcoded without need.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self, runtime_checkable

from providers.errors import ProviderError
from telephony.audio import AudioFormat
from telephony.clock import Clock

# All three kinds


@dataclass(frozen=True, slots=True)
class ProviderSwitched:
    """From this event on `successor` serves the stream, for `error.provider` failed with `error`, or was too slow.

    `successor` may be the same provider, asked again. The stream stays whole: nothing that was yielded before is
    yielded again, and nothing is left out unless an event of its own says so (`RecognitionGap`). Empty: nobody can, and
    the stream ends where it makes sense.

    `withdrawn` is the end of a reply's text so far that counts no more, for it was cut short: an unfinished word, or
    the clause that nobody finishes.
    """

    error: ProviderError
    successor: str
    withdrawn: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """No result, but a sign of life: the vendor has taken the request (`connected`), or is busy with what cannot be
    yielded in part, a tool's arguments (`working`). Deadlines alone care; whoever has none may ignore it."""

    stage: Literal["connected", "working"]


@dataclass(frozen=True, slots=True)
class UsageReported:
    """`provider` has served so much more, in its own units (`audio_ms`, `characters`, tokens by kind); reports add up.

    In a reply it is what is billed whatever becomes of it; `ReplyCompleted.usage`, which counts it all, replaces it.
    """

    provider: str
    usage: Mapping[str, int]


@runtime_checkable
class Warmable(Protocol):
    """What a provider is as well that is far away; one that is at hand needs no `warm`."""

    async def warm(self) -> None:
        """Have a connection ready for the next request, and the key tried, at no cost. Nobody needs to wait for it.

        Raises `ProviderMisconfigured`, which names the variable, for a key that the vendor refuses, another
        `ProviderError` when he cannot be reached; both within the connect deadline.
        """
        ...


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
    `ends_turn`: by the provider's own endpointing the caller is done; nobody needs to ask. `settled_ms`: of the audio
    sent to this recognition, so much is dealt with by these words and those before; None where the provider cannot say.
    """

    text: str
    confidence: float | None = None
    finalized: bool = False
    ends_turn: bool = False
    settled_ms: float | None = None


@dataclass(frozen=True, slots=True)
class RecognitionGap:
    """`lost_ms` of the caller's audio was never recognised (overflow, reconnect). `replayed_ms`: so much was heard
    again by whoever took over, 0 lost if that was all."""

    lost_ms: float
    reason: str
    replayed_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class AudioSettled:
    """There was nothing to say in the audio up to `settled_ms`: should the recogniser be lost, another one need not
    hear it. For adapters; a call is never told."""

    settled_ms: float


@dataclass(frozen=True, slots=True)
class AudioReached:
    """A sign of life: the recogniser has come so far in the audio that it was sent, whatever it makes of it. Whoever
    tells this is expected to go on telling it, a few times a second, while there is voice. For adapters, like
    `AudioSettled`."""

    reached_ms: float


@dataclass(frozen=True, slots=True)
class RecognitionLost:
    """A recogniser let the call down; the audio waits for it, or for another one. `failures_in_a_row`: so often has
    even the most reliable of those that the call could have failed since it last worked; 0: another one is at work."""

    failure: ProviderError
    failures_in_a_row: int


RecognitionEvent = (
    PartialTranscript
    | FinalTranscript
    | RecognitionGap
    | AudioSettled
    | AudioReached
    | RecognitionLost
    | ProviderSwitched
    | UsageReported
)


class Recognition(Protocol):
    """Recognition of one call's audio, from answer to hang-up. Iterating raises `ProviderError` when it is lost."""

    def send(self, audio: bytes) -> None:
        """Take audio in the opened format. Never blocks: a full buffer drops its oldest and reports a gap."""
        ...

    def finalize(self) -> None:
        """The caller's turn seems over: answer with a `FinalTranscript(finalized=True)` at once, empty or not."""
        ...

    def __aiter__(self) -> AsyncIterator[RecognitionEvent]: ...


@runtime_checkable
class Metered(Protocol):
    """What a `Recognition` is as well that knows who is billed for it."""

    def take_usage(self) -> tuple[UsageReported, ...]:
        """What each provider has served since this was last asked."""
        ...


@runtime_checkable
class Buffered(Protocol):
    """Whatever keeps something back for calls, within bounds."""

    def fills(self) -> Mapping[str, float]:
        """How full each buffer is now, by name, from 0 to 1; of many of a name, the fullest."""
        ...


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


@runtime_checkable
class BatchRecogniser(Protocol):
    """What a `SpeechToText` is as well whose vendor takes a whole utterance at once."""

    async def recognise(self, utterance: bytes, audio: AudioFormat) -> str:
        """The words of one utterance, "" for none. Raises `ProviderError`; the deadline is the caller's."""
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
    """The last event of a reply that was not cut short. `usage` counts by the vendor's own names.

    `provider` is who replied, where several may; empty: the model that was asked.
    """

    stop_reason: str = "end"
    usage: Mapping[str, int] = field(default_factory=dict)
    provider: str = ""


ReplyEvent = TextDelta | ToolCall | ReplyCompleted | ProviderSwitched | UsageReported | Progress


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


SpeechEvent = SpeechChunk | ProviderSwitched | UsageReported | Progress


class TextToSpeech(Protocol):
    name: str

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def formats(self) -> tuple[AudioFormat, ...]:
        """Formats that `speak` yields, best first."""
        ...

    def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechEvent, None]:
        """Speak pieces of text (clauses or sentences, as they come) as one utterance. Raises `ProviderError`.

        Speech of the first piece is yielded without waiting for the second.
        """
        ...


@runtime_checkable
class DistinctVoice(Protocol):
    """What a `TextToSpeech` is as well that can say when its sound may be kept and used again."""

    def voice_key(self) -> str:
        """All that the sound of a text depends on: vendor, model, voice, settings. The same key, the same sound.
        Empty: it cannot say."""
        ...


# Construction


class Instruments(Protocol):
    """Where providers tell what concerns the process and not one call. The labels of a name are always the same."""

    def count(self, name: str, **labels: str) -> None:
        """One more of `name` (`provider_retries`)."""
        ...

    def add(self, name: str, amount: float, **labels: str) -> None:
        """So many more of `name` (`replayed_ms`)."""
        ...

    def level(self, name: str, value: float, **labels: str) -> None:
        """`name` stands at `value` now."""
        ...


class Uninstrumented:
    """For a process that measures nothing."""

    def count(self, name: str, **labels: str) -> None:
        pass

    def add(self, name: str, amount: float, **labels: str) -> None:
        pass

    def level(self, name: str, value: float, **labels: str) -> None:
        pass


@dataclass(frozen=True, slots=True)
class ProviderContext:
    """What a provider may know when it is built. `environment` is the process environment merged with `.env`."""

    environment: Mapping[str, str]
    clock: Clock
    grammar: Grammar | None = None
    """The active dialogue's grammar; None when a vendor's model leads the conversation."""
    instruments: Instruments = field(default_factory=Uninstrumented)
