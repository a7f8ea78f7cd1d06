"""Several voices as one: when speech dies or stalls, it goes on with the first word that was not wholly given.

The words that come out are always those of the text, each once, whatever the voices make of it: they tell *when* the
next words sound, the script tells which these are. Whatever format a voice speaks, the chain yields the one asked for.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from random import Random
from typing import Self

from providers.base import DistinctVoice, ProviderContext, SpeechChunk, SpeechEvent, SpokenWord, TextToSpeech
from providers.errors import ProviderMalformed
from providers.resilience.deadlines import Deadlines, read
from providers.resilience.race import Race, Stream
from providers.resilience.roster import Member, Roster
from providers.resilience.script import Reader, Script
from telephony.audio import AudioFormat
from telephony.codecs.transcode import Transcoder
from telephony.tasks import TaskGroup

_AHEAD = 2
"""Chunks of a voice that may wait for the turn."""
_HALF_WORD_MS = 40.0
"""A word that lacks more than this of its sound was not said."""


class VoiceChain:
    """`TextToSpeech` by one or several voices."""

    def __init__(
        self, voices: Sequence[TextToSpeech], context: ProviderContext, deadlines: Deadlines | None = None
    ) -> None:
        """Raises `ProviderMisconfigured` for a deadline that is no number."""
        self.roster = Roster("tts", voices, context.clock, context.instruments)
        self.name = self.roster.name
        self._deadlines = deadlines or read("tts", context.environment)
        self._random = Random()
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for member in self.roster.members:
                await stack.enter_async_context(member.provider)
            self._group: TaskGroup = await stack.enter_async_context(TaskGroup())
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._open.aclose()

    def voice_key(self) -> str:
        """See `DistinctVoice`: the first voice's; who speaks in its place says so in the stream."""
        first = self.roster.members[0].provider
        return first.voice_key() if isinstance(first, DistinctVoice) else ""

    def formats(self) -> tuple[AudioFormat, ...]:
        """Every format that one of the voices speaks, the first voice's first."""
        formats = (audio for member in self.roster.members for audio in member.provider.formats())
        return tuple(dict.fromkeys(formats))

    async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechEvent, None]:
        """Speech in `audio`, one of `formats()`, whoever speaks it; another raises `ValueError`.

        What `text` raises is raised here, after the speech that came before it.
        """
        if audio not in self.formats():
            raise ValueError(f"{self.name} speaks {self.formats()}, not {audio}")
        utterance = _Utterance(self.roster, self._deadlines, self._group, text, audio, self._random)
        reading = self._group.create_task(utterance.script.read())
        try:
            async with aclosing(utterance.events()) as events:
                async for event in events:
                    yield event
        finally:
            reading.cancel()
            await asyncio.wait({reading})
        if utterance.script.failure is not None:
            raise utterance.script.failure


class _Utterance:
    """One `speak`, and how far it came."""

    def __init__(
        self,
        roster: Roster[TextToSpeech],
        deadlines: Deadlines,
        group: TaskGroup,
        text: AsyncIterator[str],
        audio: AudioFormat,
        random: Random,
    ) -> None:
        self.script = Script(text)
        self._audio = audio
        self._clock = roster.clock
        self._race: Race[TextToSpeech, SpeechEvent] = Race(
            roster, deadlines, group, self._ask, ahead=_AHEAD, random=random
        )
        self._samples = 0
        self._words = 0
        """Words yielded so far, the last of which sounds until sample `_last_word_end`."""
        self._last_word_end = 0

    async def events(self) -> AsyncGenerator[SpeechEvent, None]:
        """What the voices say, in order."""
        async with aclosing(self._race.events()) as events:
            async for event in events:
                if isinstance(event, SpeechChunk):
                    if event.words:
                        self._words += len(event.words)
                        self._last_word_end = self._samples + event.words[-1].end
                    self._samples += self._audio.samples(len(event.audio))
                yield event

    def _ask(self, member: Member[TextToSpeech]) -> Stream[SpeechEvent]:
        missing_ms = (self._last_word_end - self._samples) * 1000 / self._audio.rate_hz
        half = bool(self._words) and missing_ms > _HALF_WORD_MS
        reader = Reader(self.script, self._words - half, self._clock, self._race.ring)
        speaker = _Speaker(member, self.script, self._words, self._audio, repeated=half)
        return Stream(speaker.speak(reader), reader.owed_since)


class _Speaker:
    """One voice at work on the script: its speech in the format asked for, its words named by the script.

    `known` words are yielded already; the last of them is `repeated`: it sounds anew, and is not told again.
    """

    def __init__(
        self, member: Member[TextToSpeech], script: Script, known: int, audio: AudioFormat, *, repeated: bool
    ) -> None:
        self._member = member
        self._script = script
        self._next = known
        self._repeated = repeated
        self._audio = audio
        formats = member.provider.formats()
        self._source = audio if audio in formats else formats[0]
        self._transcoder = Transcoder(self._source, audio)
        self._taken = 0  # samples of the source
        self._given = 0  # samples of the target
        self._waiting: deque[tuple[int, int]] = deque()  # words whose sound is still in the transcoder

    async def speak(self, reader: Reader) -> AsyncGenerator[SpeechEvent, None]:
        """All that is to be said from the reader's place on. Raises if something is missing at its end."""
        async with aclosing(self._member.provider.speak(reader.pieces(), self._source)) as speech:
            async for event in speech:
                if not isinstance(event, SpeechChunk):
                    yield event
                    continue
                for word in event.words:
                    self._place(word)
                self._taken += self._source.samples(len(event.audio))
                chunk = self._chunk(self._transcoder.feed(event.audio))
                if chunk.audio or chunk.words:
                    yield chunk
        rest = self._transcoder.flush()
        self._check(reader, silent=not self._given and not rest)
        if rest or self._waiting:
            yield self._chunk(rest, last=True)

    def _place(self, word: SpokenWord) -> None:
        if self._repeated:
            self._repeated = False
        elif self._next + len(self._waiting) < len(self._script.words):
            scale = self._transcoder.scale
            self._waiting.append((scale(self._taken + word.start), scale(self._taken + word.end)))

    def _chunk(self, sound: bytes, *, last: bool = False) -> SpeechChunk:
        """The sound with the words that begin in it; no word before there is any sound at all."""
        begin, samples = self._given, self._audio.samples(len(sound))
        self._given += samples
        words = []
        while self._waiting and (last or (self._given and self._waiting[0][0] <= self._given)):
            start, end = self._waiting.popleft()
            start = min(max(0, start - begin), samples)
            words.append(SpokenWord(self._script.words[self._next], start, max(start, end - begin)))
            self._next += 1
        return SpeechChunk(sound, tuple(words))

    def _check(self, reader: Reader, *, silent: bool) -> None:
        """The voice is at its end: it has said the whole text, with a sound if there was anything to pronounce."""
        missing = self._script.words[self._next + len(self._waiting) :]
        if missing or not reader.exhausted:
            raise ProviderMalformed(self._member.name, f"the speech ended {len(missing)} words before the text")
        if silent and reader.given and any(map(str.isalnum, "".join(self._script.words[self._next :]))):
            raise ProviderMalformed(self._member.name, "no sound for a text")
