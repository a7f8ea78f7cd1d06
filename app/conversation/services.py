"""What all calls of a process share."""

from dataclasses import dataclass, field
from typing import Any

from app.calls.ownership import Tenure
from app.conversation.hearing import VoiceDetector
from app.conversation.manners import Manners
from app.conversation.phrasebook import Phrasebook
from app.conversation.record import Counters
from app.conversation.tools import Toolbox
from app.conversation.usage import CallUsage, MeteredModel, MeteredVoice
from app.conversation.waits import RecentWaits
from providers.base import LanguageModel, SpeechToText, TextToSpeech
from providers.errors import ProviderError, ProviderMisconfigured
from providers.resilience.warmth import Chain, try_all, warm
from telephony.clock import Clock
from telephony.tasks import TaskGroup
from telephony.turn_end import TurnEndModel


@dataclass(frozen=True)
class Providers:
    """Who listens, thinks and speaks."""

    stt: SpeechToText
    llm: LanguageModel
    tts: TextToSpeech

    def names(self) -> dict[str, str]:
        return {"stt": self.stt.name, "llm": self.llm.name, "tts": self.tts.name}

    def metered(self, usage: CallUsage) -> "Providers":
        """The same for one call, whose costs are counted."""
        return Providers(self.stt, MeteredModel(self.llm, usage), MeteredVoice(self.tts, usage))

    async def try_keys(self) -> list[ProviderError]:
        """Ask every vendor whether he knows us. Answers who cannot be reached, which need not stop anybody; raises
        `ProviderMisconfigured` for a key that is refused."""
        async with TaskGroup() as tasks:
            chains = [provider for provider in (self.stt, self.llm, self.tts) if isinstance(provider, Chain)]
            trials = [tasks.create_task(_tried(chain)) for chain in chains]
        failures = [failure for trial in trials for failure in trial.result()]
        for failure in failures:
            if isinstance(failure, ProviderMisconfigured):
                raise failure
        return failures

    async def warm(self) -> None:
        """While the telephone rings: connections for who thinks and speaks. Who listens is connected with by then."""
        async with TaskGroup() as tasks:
            for provider in (self.llm, self.tts):
                if isinstance(provider, Chain):
                    tasks.create_task(warm(provider))


async def _tried(chain: Chain) -> list[ProviderError]:
    try:
        return await try_all(chain)
    except ProviderMisconfigured as refused:
        return [refused]


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
    waits: RecentWaits = field(default_factory=RecentWaits)
    """What replies and tools have taken lately, in all calls."""
    turn_end: TurnEndModel | None = None
    """Judges turns by their melody, where it is wanted."""
    tenure: Tenure = field(default_factory=Tenure)
    """Until when the calls are surely ours."""

    def settings(self) -> dict[str, Any]:
        """What shapes the talk, for the record."""
        manners = self.manners
        return {
            "instructions": manners.instructions,
            "notice": manners.notice,
            "greeting": manners.greeting,
            "limit_s": manners.limit_s,
            "transfer": bool(manners.transfer_to),
            "tools": [spec.name for spec in self.toolbox.specs()],
        }
