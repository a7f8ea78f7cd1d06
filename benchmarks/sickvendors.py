"""The fake vendors of the tests as a benchmark of faults needs them: at a vendor's pace, and sick once, on demand."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from providers.base import ProviderContext, SpeechChunk, SpokenWord
from providers.registry import PROVIDERS
from providers.scripted import ScriptedTextToSpeech
from telephony.audio import AudioFormat
from tests.fakes import anthropic, elevenlabs, openai
from tests.fakes.deepgram import FakeDeepgram, Line, Refusal, close_without_status, mute, reset
from tests.fakes.http import CUT, Answer, Received, Step

QUESTION = "red seven blue three nine"
ANSWER = (
    "Of course, I can tell you that. We are open from nine to five on every working day. "
    "On Saturday we are open in the morning only. On Sunday nobody is here."
)
FIRST_TOKEN_S, TOKENS_PER_S = 0.3, 80.0
_RETRY_AFTER_S = 2
_SICK_S = 4.0
_WORDS_BEFORE = 12
"""Of the answer, before its stream breaks."""

FAULTS = {
    "llm": ("refused", "slow start", "stall", "garbage", "rate limit", "dropped", "truncated"),
    "tts": ("refused", "slow start", "stall", "garbage", "rate limit", "dropped", "truncated"),
    "stt": ("refused", "slow start", "stall", "garbage", "rate limit", "dropped", "truncated"),
}
"""By who fails. `refused` is a status or an error at the start, `truncated` an end in good order before the work is
done."""


def _at(seconds: float) -> asyncio.Event:
    """Set after so long."""
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, event.set)
    return event


def _rest(said: str) -> list[str]:
    """The tokens of the answer behind what was said."""
    words = ANSWER.split()[len(said.split()) :]
    return [f"{word} " for word in words]


class Mind(anthropic.FakeAnthropic):
    """Answers the question at a model's pace; the first request meets `fault`."""

    def __init__(self) -> None:
        super().__init__()
        self.fault = ""
        self.on_question: Callable[[], None] | None = None

    def choose(self, received: Received) -> Answer:
        """As the vendor does, and in its own time."""
        answer = super().choose(received)
        if received.path != "/v1/messages" or answer.status != 200:
            return answer
        if self.on_question is not None:
            self.on_question()
            self.on_question = None
        fault, self.fault = self.fault, ""
        if fault in ("refused", "rate limit"):
            return _refused(anthropic.refused, fault)
        last = received.body["messages"][-1]["content"][0]["text"]
        said = received.body["messages"][-2]["content"][0]["text"] if last.startswith("(The line") else ""
        pieces = [anthropic.text(token) for token in _rest(said)]
        return Answer(_paced(anthropic.start(), pieces, anthropic.end(), fault, b"event: x\ndata: {gar\n\n"))


class SecondMind(openai.FakeOpenAI):
    """Another vendor with the same answer."""

    def choose(self, received: Received) -> Answer:
        """As the server does, and in its own time."""
        answer = super().choose(received)
        if received.path != "/chat/completions" or answer.status != 200:
            return answer
        messages = received.body["messages"]
        said = messages[-2]["content"] if messages[-1]["content"].startswith("(The line") else ""
        pieces = [openai.text(token) for token in _rest(said)]
        return Answer(_paced(openai.START, pieces, openai.end(), "", b""))


def _refused(refused: Callable[..., Answer], fault: str) -> Answer:
    if fault == "rate limit":
        return refused(429, "rate_limit_error", retry_after=str(_RETRY_AFTER_S))
    return refused(503, "api_error")


def _paced(start: bytes, pieces: list[bytes], end: bytes, fault: str, garbage: bytes) -> tuple[Step, ...]:
    """The steps of an answer, broken by a fault."""
    if fault == "slow start":
        return (start, asyncio.Event())
    steps: list[Step] = [start]
    for number, piece in enumerate(pieces):
        steps += [_at(FIRST_TOKEN_S + number / TOKENS_PER_S), piece]
    if not fault:
        return (*steps, end)
    broken: dict[str, tuple[Step, ...]] = {
        "stall": (asyncio.Event(),),
        "garbage": (garbage,),
        "dropped": (CUT,),
        "truncated": (),
    }
    return (*steps[: 1 + 2 * _WORDS_BEFORE], *broken[fault])


class Voice(elevenlabs.FakeElevenLabs):
    """Speaks until it is told to `suffer`: the next piece then meets the fault."""

    def __init__(self) -> None:
        super().__init__()
        self.chunks = (400, 800)

    def suffer(self, fault: str) -> None:
        """The next speech fails."""
        match fault:
            case "refused":
                message = json.dumps({"error": "internal_error", "message": "No.", "code": 1011})
                self.faults = [elevenlabs.Fault(send=message, close=(1011, "internal error"))]
                self.refusals = [(503, {}, elevenlabs.detail("busy"))]
            case "rate limit":
                for line in self.lines:
                    line.connection.transport.abort()
                headers = {"retry-after": str(_RETRY_AFTER_S)}
                self.refusals = [(429, headers, elevenlabs.detail("too_many_concurrent_requests"))]
            case "slow start":
                self.faults = [elevenlabs.Fault(stall=True)]
            case "stall":
                self.faults = [elevenlabs.Fault(chunk=3, stall=True)]
            case "garbage":
                self.faults = [elevenlabs.Fault(chunk=3, send="{garbage")]
            case "dropped":
                self.faults = [elevenlabs.Fault(chunk=3, reset=True)]
            case "truncated":
                self.faults = [_EndsEarly(chunk=3)]

    async def _suffer(self, line: elevenlabs.Line, fault: elevenlabs.Fault) -> None:
        if isinstance(fault, _EndsEarly):
            for spoken in tuple(line.contexts.values()):
                await self._finish(line, spoken)
        await super()._suffer(line, fault)


class _EndsEarly(elevenlabs.Fault):
    """The vendor says that it has spoken all."""


class SecondVoice(ScriptedTextToSpeech):
    """Another vendor, whose speech can be read back as well."""

    async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechChunk, None]:
        """A word a chunk."""
        async for piece in text:
            for word in piece.split():
                sound = elevenlabs.sound(f"{word} ")
                yield SpeechChunk(sound, (SpokenWord(word, 0, len(word) * elevenlabs.CHARACTER_SAMPLES),))


def create_second_voice(context: ProviderContext) -> SecondVoice:
    """As the registry wants it."""
    return SecondVoice(context.clock, name="second")


def register() -> None:
    """Make it known to the registry of this process."""
    PROVIDERS["tts"]["second"] = "benchmarks.sickvendors:create_second_voice"


class Ear(FakeDeepgram):
    """Hears well until it has heard two words of the question: then the `armed` fault strikes, once."""

    armed = ""

    async def _take(self, protocol: Any, line: Line) -> None:
        await super()._take(protocol, line)
        if self.armed and len(protocol.ear.words) >= 2:
            fault, self.armed = self.armed, ""
            await self._strike_with(fault, line)

    async def _strike_with(self, fault: str, line: Line) -> None:
        match fault:
            case "refused":
                self.refusals.append(Refusal(503))
                reset(line)
            case "rate limit":
                self.refusals.append(Refusal(429, {"retry-after": str(_RETRY_AFTER_S)}))
                reset(line)
            case "slow start":
                self.admitted.clear()
                asyncio.get_running_loop().call_later(_SICK_S, self.admitted.set)
                reset(line)
            case "stall":
                mute(line)
            case "garbage":
                await line.raw("{garbage")
            case "dropped":
                reset(line)
            case "truncated":
                close_without_status(line)
