"""Chains of scripted providers, and what comes out of them, in virtual time."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from providers.base import (
    CallerMessage,
    LanguageModel,
    ProviderContext,
    ProviderSwitched,
    ReplyCompleted,
    ReplyRequest,
    SpeechChunk,
    SpeechEvent,
    TextDelta,
    TextToSpeech,
    ToolCall,
)
from providers.resilience.deadlines import DEFAULTS
from providers.resilience.models import ModelChain
from providers.resilience.voices import VoiceChain
from telephony.audio import TELEPHONE, AudioFormat
from telephony.clock import LoopClock

CLOCK = LoopClock()
ASKED = ReplyRequest((CallerMessage("when are you open?"),))


@dataclass
class Gauges:
    """What the chain told about itself."""

    counted: dict[tuple[str, ...], float] = field(default_factory=dict)
    levels: dict[tuple[str, ...], float] = field(default_factory=dict)

    def count(self, name: str, **labels: str) -> None:
        self.add(name, 1, **labels)

    def add(self, name: str, amount: float, **labels: str) -> None:
        key = (name, *labels.values())
        self.counted[key] = self.counted.get(key, 0) + amount

    def level(self, name: str, value: float, **labels: str) -> None:
        self.levels[(name, *labels.values())] = value

    def total(self, name: str) -> float:
        return sum(amount for key, amount in self.counted.items() if key[0] == name)


@dataclass
class Reply:
    """One reply of a chain, as a turn would keep it."""

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    switches: list[ProviderSwitched] = field(default_factory=list)
    completed: ReplyCompleted | None = None
    times: list[float] = field(default_factory=list)
    """When each text came, from the start."""

    @property
    def longest_wait_s(self) -> float:
        return max(later - earlier for earlier, later in zip([0.0, *self.times], self.times, strict=False))


def context(gauges: Gauges | None = None) -> ProviderContext:
    return ProviderContext({}, CLOCK, instruments=gauges or Gauges())


def models(*members: LanguageModel, gauges: Gauges | None = None) -> ModelChain:
    return ModelChain(members, context(gauges), DEFAULTS["llm"])


def voices(*members: TextToSpeech, gauges: Gauges | None = None) -> VoiceChain:
    return VoiceChain(members, context(gauges), DEFAULTS["tts"])


async def ask(chain: ModelChain, request: ReplyRequest = ASKED) -> Reply:
    """One reply of an entered chain."""
    reply, began = Reply(), CLOCK.now()
    async for event in chain.reply(request):
        match event:
            case TextDelta(text):
                reply.text += text
                reply.times.append(CLOCK.now() - began)
            case ToolCall():
                reply.calls.append(event)
            case ProviderSwitched():
                reply.switches.append(event)
                assert reply.text.endswith(event.withdrawn)
                reply.text = reply.text[: len(reply.text) - len(event.withdrawn)]
            case ReplyCompleted():
                assert reply.completed is None
                reply.completed = event
    return reply


async def pieces(texts: Sequence[str], every_s: float = 0.0) -> AsyncIterator[str]:
    for text in texts:
        yield text
        await CLOCK.sleep_until(CLOCK.now() + every_s)


@dataclass
class Speech:
    """One utterance of a chain."""

    events: list[SpeechEvent] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    @property
    def chunks(self) -> list[SpeechChunk]:
        return [event for event in self.events if isinstance(event, SpeechChunk)]

    @property
    def switches(self) -> list[ProviderSwitched]:
        return [event for event in self.events if isinstance(event, ProviderSwitched)]

    @property
    def words(self) -> list[str]:
        return [word.text for chunk in self.chunks for word in chunk.words]

    @property
    def longest_wait_s(self) -> float:
        return max(later - earlier for earlier, later in zip([0.0, *self.times], self.times, strict=False))


async def speak(chain: VoiceChain, *texts: str, audio: AudioFormat = TELEPHONE, every_s: float = 0.0) -> Speech:
    """One utterance of an entered chain."""
    speech, began = Speech(), CLOCK.now()
    async for event in chain.speak(pieces(texts, every_s), audio):
        speech.events.append(event)
        if isinstance(event, SpeechChunk):
            speech.times.append(CLOCK.now() - began)
    return speech
