"""What a call costs: seconds, tokens and characters, each counted for the provider that bills them.

Counted is what was ordered, not what was heard: a reply that was cancelled, was only speculative, or lost a race, has
been billed all the same. Models are asked through `MeteredModel`, voices through `MeteredVoice`, which pass everything
on but the reports; recognition is asked how much it was.
"""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Self

from providers.base import (
    LanguageModel,
    ProviderSwitched,
    ReplyCompleted,
    ReplyEvent,
    ReplyRequest,
    SpeechEvent,
    TextDelta,
    TextToSpeech,
    UsageReported,
)
from telephony.audio import AudioFormat

_UNITS = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
    "cached_tokens": "cache_read_tokens",
    "total_tokens": "",
}
"""Vendors' names for our units, "" for what says nothing new; other names stay as they are."""
_ESTIMATED = "_estimated"
_CHARACTERS_PER_TOKEN = 4

Units = Counter[str]


class CallUsage:
    """Amounts by provider and unit: `audio_ms`, `input_tokens`, `output_tokens`, `cache_read_tokens`,
    `cache_write_tokens`, `characters`; with `_estimated` behind it where the vendor never said."""

    def __init__(self) -> None:
        self._amounts: dict[str, Units] = {}
        self._taken: dict[str, Units] = {}

    def add(self, provider: str, amounts: Mapping[str, int]) -> None:
        """So much more."""
        units = self._amounts.setdefault(provider, Counter())
        for name, amount in amounts.items():
            unit = _UNITS.get(name, name)
            if unit and amount:
                units[unit] += amount

    def totals(self) -> dict[str, dict[str, int]]:
        """Everything so far."""
        return {provider: dict(units) for provider, units in self._amounts.items() if units}

    def take(self) -> dict[str, dict[str, int]]:
        """What has come in since this was last asked."""
        new = {provider: units - self._taken.get(provider, Units()) for provider, units in self._amounts.items()}
        self._taken = {provider: units.copy() for provider, units in self._amounts.items()}
        return {provider: dict(units) for provider, units in new.items() if units}


class _Tally:
    """What one stream has cost so far, and whom."""

    def __init__(self, usage: CallUsage, provider: str) -> None:
        self.provider = provider.partition(",")[0]
        self._usage = usage
        self._reported: dict[str, Units] = {}

    def report(self, provider: str, amounts: Mapping[str, int]) -> None:
        if not self.reported(self.provider):
            self.provider = provider  # who has reported serves; a report of another one is a loser's
        self._reported.setdefault(provider, Counter()).update(dict(amounts))

    def replace(self, provider: str, amounts: Mapping[str, int]) -> None:
        """The whole account of a provider, in place of what he reported."""
        if amounts:
            self._reported[provider] = Counter(amounts)

    def reported(self, provider: str = "") -> bool:
        """He has reported something; without a name, anybody has."""
        return provider in self._reported if provider else bool(self._reported)

    def settle(self) -> None:
        """It will not change any more."""
        for provider, amounts in self._reported.items():
            self._usage.add(provider, amounts)
        self._reported.clear()


class MeteredModel:
    """A `LanguageModel` whose replies are counted. It is entered and left by its owner, not here."""

    def __init__(self, model: LanguageModel, usage: CallUsage) -> None:
        self.name = model.name
        self._model = model
        self._usage = usage

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyEvent, None]:
        """See `LanguageModel.reply`."""
        tally, characters = _Tally(self._usage, self.name), 0
        try:
            async with aclosing(self._model.reply(request)) as events:
                async for event in events:
                    match event:
                        case UsageReported(provider, amounts):
                            tally.report(provider, amounts)
                            continue
                        case TextDelta(text):
                            characters += len(text)
                        case ProviderSwitched(successor=successor):
                            _break_off(tally, characters)
                            tally.provider, characters = successor or tally.provider, 0
                        case ReplyCompleted(usage=amounts, provider=provider):
                            tally.replace(provider or tally.provider, amounts)
                            tally.settle()
                    yield event
        finally:
            _break_off(tally, characters)


def _break_off(tally: _Tally, characters: int) -> None:
    """A reply that nobody waits for any more: its vendor bills what it has written, and does not say how much. One
    who has reported nothing bills nothing."""
    if tally.reported(tally.provider) and characters:
        tally.report(tally.provider, {f"output_tokens{_ESTIMATED}": -(-characters // _CHARACTERS_PER_TOKEN)})
    tally.settle()


class MeteredVoice:
    """A `TextToSpeech` whose speech is counted: by its own reports, else by the text that it took."""

    def __init__(self, voice: TextToSpeech, usage: CallUsage) -> None:
        self.name = voice.name
        self._voice = voice
        self._usage = usage

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    def formats(self) -> tuple[AudioFormat, ...]:
        """See `TextToSpeech.formats`."""
        return self._voice.formats()

    async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechEvent, None]:
        """See `TextToSpeech.speak`."""
        tally, taken = _Tally(self._usage, self.name), Counter[str]()

        async def counted() -> AsyncIterator[str]:
            async for piece in text:
                taken[tally.provider] += len(piece)
                yield piece

        try:
            async with aclosing(self._voice.speak(counted(), audio)) as speech:
                async for event in speech:
                    if isinstance(event, UsageReported):
                        tally.report(event.provider, event.usage)
                        continue
                    if isinstance(event, ProviderSwitched):
                        tally.provider = event.successor or tally.provider
                    yield event
        finally:
            if not tally.reported():
                for provider, characters in taken.items():
                    tally.replace(provider, {"characters": characters})
            tally.settle()
