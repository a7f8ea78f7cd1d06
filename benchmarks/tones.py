"""A bridge whose words can be told by ear: `python -m benchmarks.tones serve …` is `sidetone serve` with these voices.

Every word is a tone of its own, of one length, so that a recording tells which words a caller heard, and how often. The
model counts: its reply to the caller's n-th turn is known beforehand, and it says so when its context is not what it
has to be.
"""

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from functools import lru_cache
from itertools import groupby

import numpy as np

from app.cli import main
from providers.base import (
    AgentMessage,
    CallerMessage,
    ProviderContext,
    ReplyRequest,
    SpeechChunk,
    SpokenWord,
)
from providers.registry import PROVIDERS
from providers.scripted import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech
from telephony.audio import AudioFormat
from telephony.simulator.sound import RATE_HZ, decode, encode

WORDS = (
    "alfa bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa quebec romeo "
    "sierra tango uniform victor whiskey xray yankee zulu one two three four five six seven eight nine"
).split()
SORRY = "sorry again"
WRONG = "wrong"
VOCABULARY = (*WORDS, "sorry", "again", "wrong")
WORD_S = 0.2
GREETING = " ".join(WORDS[:8])
_REPLY_WORDS = 16
_LOWEST_HZ, _STEP_HZ = 400.0, 60.0
_FRAME = RATE_HZ // 50
_LOUD = 500.0


def reply_to(turn: int) -> str:
    """What the model says to the caller's n-th turn, counted from 1."""
    at = 8 + (turn - 1) * _REPLY_WORDS
    return " ".join(WORDS[(at + index) % len(WORDS)] for index in range(_REPLY_WORDS))


def answer(request: ReplyRequest) -> str:
    """The reply, or `WRONG`: a reply in the context is not the whole of what was said at that place."""
    expected = (GREETING, SORRY, *(reply_to(turn) for turn in range(1, 20)))
    for message in request.messages:
        if isinstance(message, AgentMessage) and not any(
            message.text == text or (message.interrupted and text.startswith(message.text)) for text in expected
        ):
            return WRONG
    turns = sum(isinstance(message, CallerMessage) for message in request.messages)
    return reply_to(turns) if turns else GREETING


@lru_cache
def tone(word: str) -> bytes:
    """A word's sound, µ-law."""
    place = VOCABULARY.index(word.strip(".,").lower()) if word.strip(".,").lower() in VOCABULARY else len(VOCABULARY)
    at = np.arange(round(WORD_S * RATE_HZ)) / RATE_HZ
    return encode(8000 * np.sin(2 * np.pi * (_LOWEST_HZ + _STEP_HZ * place) * at))


def words_heard(recording: bytes) -> list[tuple[float, str, float]]:
    """(seconds, word, how much of it) for each stretch of one tone in what a caller heard."""
    sound = decode(recording)
    frames = sound[: len(sound) // _FRAME * _FRAME].reshape(-1, _FRAME)
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(_FRAME), 1600))
    hz = spectrum.argmax(axis=1) * RATE_HZ / 1600
    loud = np.sqrt((frames.astype(float) ** 2).mean(axis=1)) > _LOUD
    places = np.where(loud, np.round((hz - _LOWEST_HZ) / _STEP_HZ), -1).astype(int)
    heard, at = [], 0
    for place, stretch in groupby(places.tolist()):
        frames_long = len(list(stretch))
        if 0 <= place < len(VOCABULARY):
            heard.append((at / 50, VOCABULARY[place], frames_long / 50 / WORD_S))
        at += frames_long
    return heard


class ToneVoice(ScriptedTextToSpeech):
    """Speaks a tone for each word, one chunk a word, faster than real time."""

    async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechChunk, None]:
        due = None
        async for piece in text:
            due = due or self.clock.now() + self.first_chunk_s
            for word in piece.split():
                await self.clock.sleep_until(due)
                sound = tone(word)
                yield SpeechChunk(sound, (SpokenWord(word, 0, len(sound)),))
                due = max(due, self.clock.now()) + WORD_S / self.speed


def create_stt(context: ProviderContext) -> ScriptedSpeechToText:
    return ScriptedSpeechToText(context.clock, ("are you open on saturday",), final_s=0.3)


def create_llm(context: ProviderContext) -> ScriptedLanguageModel:
    return ScriptedLanguageModel(context.clock, answer, first_token_s=0.2, tokens_per_s=20.0)


def create_tts(context: ProviderContext) -> ToneVoice:
    return ToneVoice(context.clock, 0.1)


def run(arguments: Sequence[str]) -> int:
    """`sidetone`, with the providers named `tones`."""
    for kind in PROVIDERS:
        PROVIDERS[kind]["tones"] = f"benchmarks.tones:create_{kind}"
    return main(arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
