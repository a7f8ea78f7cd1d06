"""What all calls of a process share."""

from dataclasses import dataclass

from app.conversation.hearing import VoiceDetector
from app.conversation.manners import Manners
from app.conversation.phrasebook import Phrasebook
from app.conversation.record import Counters
from app.conversation.tools import Toolbox
from providers.base import LanguageModel, SpeechToText, TextToSpeech
from telephony.clock import Clock


@dataclass(frozen=True)
class Providers:
    """Who listens, thinks and speaks."""

    stt: SpeechToText
    llm: LanguageModel
    tts: TextToSpeech

    def names(self) -> dict[str, str]:
        return {"stt": self.stt.name, "llm": self.llm.name, "tts": self.tts.name}


@dataclass(frozen=True)
class Services:
    """Given to every session."""

    providers: Providers
    activity: VoiceDetector
    toolbox: Toolbox
    phrasebook: Phrasebook
    manners: Manners
    counters: Counters
    clock: Clock
