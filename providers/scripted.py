"""Providers that follow a script: fixed words, delays, rates and faults, for tests, load and benchmarks.

They take the place of vendors whose behaviour is the measure: what is left of a latency after subtracting theirs is
ours. Time comes from the clock, so a whole call runs in virtual time.
"""

import asyncio
from array import array
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

from providers.base import (
    CallerMessage,
    FinalTranscript,
    PartialTranscript,
    ProviderContext,
    Recognition,
    RecognitionEvent,
    ReplyCompleted,
    ReplyEvent,
    ReplyRequest,
    SpeechChunk,
    SpokenWord,
    TextDelta,
)
from providers.errors import ProviderError, ProviderMisconfigured
from telephony.audio import TELEPHONE, AudioFormat
from telephony.clock import Clock

_LOUD = frozenset(code for code in range(256) if (code & 0x7F) < 0x50)
"""µ-law codes of some loudness (above about -40 dBFS); enough to tell scripted speech from silence."""
_MS_PER_CHARACTER = 60
_EVENTS_WAITING = 256


@dataclass(frozen=True, slots=True)
class Fault:
    """After `events` events, fail with `error`, or hang for ever if it is None."""

    events: int
    error: ProviderError | None = None

    async def strike(self, clock: Clock) -> None:
        """Do the damage."""
        if self.error is not None:
            raise self.error
        await clock.sleep_until(clock.now() + 1e6)


@dataclass
class ScriptedSpeechToText:
    """Recognises loud sound as the next of `texts`; words are as many as the sound was long.

    With `ends_turn` it endpoints by itself, `final_s` after the last loud sound; without, it waits for `finalize`.
    """

    clock: Clock
    texts: Sequence[str] = ("hello",)
    final_s: float = 0.3
    finalize_s: float = 0.1
    partial_every_s: float = 0.2
    ends_turn: bool = True
    cycle: bool = True
    fault: Fault | None = None
    name: str = "scripted"
    opened: int = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    def formats(self) -> tuple[AudioFormat, ...]:
        return (TELEPHONE,)

    @asynccontextmanager
    async def open(self, audio: AudioFormat) -> AsyncIterator[Recognition]:
        """One call's recognition; the script begins anew in each."""
        self.opened += 1
        yield _ScriptedRecognition(self, self.fault if self.opened == 1 else None)


class _ScriptedRecognition:
    def __init__(self, script: ScriptedSpeechToText, fault: Fault | None) -> None:
        self._script = script
        self._fault = fault
        self._texts = deque(script.texts)
        self._answers: deque[tuple[float, RecognitionEvent]] = deque()
        self._rung = asyncio.Event()
        self._loud_s = 0.0
        self._quiet_s = 0.0
        self._told_s = 0.0

    def send(self, audio: bytes) -> None:
        if not audio:
            return
        script = self._script
        seconds = len(audio) / TELEPHONE.rate_hz
        if audio[0] in _LOUD or audio[len(audio) // 2] in _LOUD:
            self._loud_s += seconds
            self._quiet_s = 0.0
            if self._loud_s - self._told_s >= script.partial_every_s:
                self._told_s = self._loud_s
                self._answer(0.0, PartialTranscript(self._heard_so_far(), stable=True))
        elif self._loud_s:
            self._quiet_s += seconds
            if script.ends_turn and self._quiet_s + seconds / 2 >= script.final_s:
                self._answer(0.0, FinalTranscript(self._utterance(), confidence=1.0, ends_turn=True))

    def finalize(self) -> None:
        delay = self._script.finalize_s if self._loud_s else 0.0
        text = self._utterance() if self._loud_s else ""
        self._answer(delay, FinalTranscript(text, confidence=1.0, finalized=True))

    def _heard_so_far(self) -> str:
        words = self._texts[0].split() if self._texts else []
        return " ".join(words[: 1 + int(self._loud_s / 0.3)])

    def _utterance(self) -> str:
        self._loud_s = self._quiet_s = self._told_s = 0.0
        if not self._texts:
            return ""
        text = self._texts.popleft()
        if self._script.cycle:
            self._texts.append(text)
        return text

    def _answer(self, delay_s: float, event: RecognitionEvent) -> None:
        if len(self._answers) >= _EVENTS_WAITING:
            self._answers.popleft()
        self._answers.append((self._script.clock.now() + delay_s, event))
        self._rung.set()

    async def __aiter__(self) -> AsyncIterator[RecognitionEvent]:
        count = 0
        while True:
            if self._fault is not None and count >= self._fault.events:
                await self._fault.strike(self._script.clock)
            while not self._answers:
                self._rung.clear()
                await self._rung.wait()
            at, event = self._answers.popleft()
            if at > self._script.clock.now():
                await self._script.clock.sleep_until(at)
            count += 1
            yield event


Answer = Callable[[ReplyRequest], str | Sequence[ReplyEvent]]
"""What to reply to a request: a text, streamed word by word, or the events themselves."""


def _echo(request: ReplyRequest) -> str:
    last = request.messages[-1] if request.messages else None
    if not isinstance(last, CallerMessage):
        return "Hello, this is the scripted model."
    return f"You said {last.text or 'nothing that I understood'}, and I answer with a sentence of some length."


@dataclass
class ScriptedLanguageModel:
    """Answers after `first_token_s`, then at `tokens_per_s` (a token is a word)."""

    clock: Clock
    answer: Answer = _echo
    first_token_s: float = 0.3
    tokens_per_s: float = 80.0
    faults: dict[int, Fault] = field(default_factory=dict)
    """Faults by the number of the request, from 1."""
    name: str = "scripted"
    requests: list[ReplyRequest] = field(default_factory=list)
    """Everything asked for so far; the last 100."""
    asked: int = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyEvent, None]:
        """Stream the scripted answer."""
        self.asked += 1
        self.requests = [*self.requests[-99:], request]
        fault = self.faults.get(self.asked)
        due = self.clock.now() + self.first_token_s
        answer = self.answer(request)
        events = [TextDelta(word) for word in _tokens(answer)] if isinstance(answer, str) else answer
        for count, event in enumerate(events):
            if fault is not None and count >= fault.events:
                await fault.strike(self.clock)
            await self.clock.sleep_until(due)
            yield event
            due += 1 / self.tokens_per_s
        if fault is not None and fault.events >= len(events):
            await fault.strike(self.clock)
        yield ReplyCompleted()


@dataclass
class ScriptedTextToSpeech:
    """A tone as long as the text would take, in 100 ms chunks: the first after `first_chunk_s`, the others at
    `speed` times real time."""

    clock: Clock
    first_chunk_s: float = 0.12
    speed: float = 4.0
    faults: dict[int, Fault] = field(default_factory=dict)
    """Faults by the number of the `speak`, from 1; events are chunks."""
    name: str = "scripted"
    spoken: int = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    def formats(self) -> tuple[AudioFormat, ...]:
        return (TELEPHONE,)

    async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechChunk, None]:
        """Speak the pieces as they come."""
        self.spoken += 1
        fault = self.faults.get(self.spoken)
        count = 0
        due: float | None = None
        async for piece in text:
            if due is None:
                due = self.clock.now() + self.first_chunk_s
            for chunk in _tone_speech(piece):
                if fault is not None and count >= fault.events:
                    await fault.strike(self.clock)
                await self.clock.sleep_until(due)
                yield chunk
                count += 1
                due = max(due, self.clock.now()) + TELEPHONE.ms(len(chunk.audio)) / 1000 / self.speed


def _tokens(text: str) -> list[str]:
    words = text.split()
    return [word if index == 0 else f" {word}" for index, word in enumerate(words)]


_TONE = bytes(array("B", [0x1F, 0x2A, 0x1F, 0x60, 0x9F, 0xAA, 0x9F, 0xE0]))
"""One period of about 1 kHz at 8 kHz, µ-law, loud enough for a detector of energy."""
_CHUNK_SAMPLES = 800


@lru_cache(maxsize=64)
def _tone_speech(text: str) -> tuple[SpeechChunk, ...]:
    """Tone for a piece of text, cut into chunks, each with the words that begin in it. Made once: in a benchmark a
    vendor's work is not to be ours."""
    words: list[SpokenWord] = []
    position = 0
    for word in text.split():
        samples = (len(word) + 1) * _MS_PER_CHARACTER * TELEPHONE.rate_hz // 1000
        words.append(SpokenWord(word, position, position + samples))
        position += samples
    sound = (_TONE * (position // len(_TONE) + 1))[:position]
    chunks = []
    for start in range(0, position, _CHUNK_SAMPLES):
        end = start + _CHUNK_SAMPLES
        within = tuple(SpokenWord(w.text, w.start - start, w.end - start) for w in words if start <= w.start < end)
        chunks.append(SpeechChunk(sound[start:end], within))
    return tuple(chunks)


def create_stt(context: ProviderContext) -> ScriptedSpeechToText:
    """Settings: `SCRIPTED_TEXTS` (separated by `|`), `SCRIPTED_FINAL_S`."""
    texts = tuple(filter(None, context.environment.get("SCRIPTED_TEXTS", "").split("|"))) or ("hello there",)
    return ScriptedSpeechToText(context.clock, texts, final_s=_seconds(context, "SCRIPTED_FINAL_S", 0.3))


def create_llm(context: ProviderContext) -> ScriptedLanguageModel:
    """Settings: `SCRIPTED_FIRST_TOKEN_S`, `SCRIPTED_TOKENS_PER_S`."""
    return ScriptedLanguageModel(
        context.clock,
        first_token_s=_seconds(context, "SCRIPTED_FIRST_TOKEN_S", 0.3),
        tokens_per_s=_seconds(context, "SCRIPTED_TOKENS_PER_S", 80.0),
    )


def create_tts(context: ProviderContext) -> ScriptedTextToSpeech:
    """Settings: `SCRIPTED_FIRST_CHUNK_S`, `SCRIPTED_SPEED`."""
    return ScriptedTextToSpeech(
        context.clock,
        first_chunk_s=_seconds(context, "SCRIPTED_FIRST_CHUNK_S", 0.12),
        speed=_seconds(context, "SCRIPTED_SPEED", 4.0),
    )


def _seconds(context: ProviderContext, variable: str, default: float) -> float:
    text = context.environment.get(variable, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if value <= 0:
        raise ProviderMisconfigured("scripted", variable, f"{text!r} is no positive number")
    return value
