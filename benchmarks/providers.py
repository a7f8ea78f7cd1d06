"""Who listens, thinks and speaks in a benchmark: the project's scripted providers with fixed words.

Named by `STT_PROVIDER=bench` and so on in the bridge's process, which registers them.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from app.conversation.chunker import Chunker
from benchmarks.speech import recordings, talk
from providers.base import ProviderContext, SpeechChunk
from providers.registry import PROVIDERS
from providers.scripted import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech
from telephony.audio import AudioFormat

SHORT_REPLY = "Of course. We are open from nine to five, every day of the week."
"""Begins like an assistant does: with a short sentence, so that speech can begin before the rest is known."""
LONG_REPLY = " ".join(
    f"This is sentence number {number} of a reply that goes on until somebody interrupts it."
    for number in ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
)

FINAL_S, FIRST_TOKEN_S, TOKENS_PER_S, FIRST_SPEECH_S = 0.3, 0.3, 80.0, 0.12
VENDORS_S = FINAL_S + FIRST_TOKEN_S + FIRST_SPEECH_S
"""What the scripted vendors take of every answer; what is left of its onset is ours, and the model's first clause."""


def first_clause_s(reply: str) -> float:
    """How long after its first token the model has said enough for the voice to begin."""
    chunker = Chunker()
    for count, word in enumerate(reply.split()):
        if chunker.push(word if not count else f" {word}"):
            return count / TOKENS_PER_S
    return (len(reply.split()) - 1) / TOKENS_PER_S


@dataclass
class SpeakingTextToSpeech(ScriptedTextToSpeech):
    """Speaks with a human voice: recordings in a row, whatever the text; what a caller's telephone echoes is speech."""

    def __post_init__(self) -> None:
        self.sound = talk(recordings(), seconds=90.0, seed=3)

    async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechChunk, None]:
        """The rhythm and the words of the script, the sound of the recordings."""
        position = 0
        async for chunk in super().speak(text, audio):
            size = len(chunk.audio)
            at = position % (len(self.sound) - size)
            yield SpeechChunk(self.sound[at : at + size], chunk.words)
            position += size


def register() -> None:
    """Make them known to the registry of this process."""
    for kind in PROVIDERS:
        PROVIDERS[kind]["bench"] = f"benchmarks.providers:create_{kind}"


def create_stt(context: ProviderContext) -> ScriptedSpeechToText:
    """`BENCH_HEARS=nothing`: a recogniser without words, so that the voice detector alone judges."""
    if context.environment.get("BENCH_HEARS") == "nothing":
        return ScriptedSpeechToText(context.clock, (), ends_turn=False)
    return ScriptedSpeechToText(context.clock, ("when are you open",), final_s=FINAL_S)


def create_llm(context: ProviderContext) -> ScriptedLanguageModel:
    """`BENCH_REPLIES=long` for something to be interrupted."""
    reply = LONG_REPLY if context.environment.get("BENCH_REPLIES") == "long" else SHORT_REPLY
    return ScriptedLanguageModel(context.clock, lambda _: reply, FIRST_TOKEN_S, TOKENS_PER_S)


def create_tts(context: ProviderContext) -> ScriptedTextToSpeech:
    """`BENCH_VOICE=human` for one that sounds like a person; it needs recordings."""
    voice = SpeakingTextToSpeech if context.environment.get("BENCH_VOICE") == "human" else ScriptedTextToSpeech
    return voice(context.clock, FIRST_SPEECH_S)
