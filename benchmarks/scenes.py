"""One call each: the real session, ear and voice detector, in virtual time, with a caller who does one thing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from app.calls.journal import CallerSaid, FloorChanged, JournalEvent, ReplyEnded, ReplyStarted
from app.conversation.manners import Manners
from app.conversation.phrasebook import Phrasebook
from app.conversation.services import Providers, Services
from app.conversation.session import CallSession
from app.conversation.state import Floor
from app.conversation.tools import Toolbox
from app.telemetry.metrics import Metrics
from benchmarks.farend import Echo, FarEnd, KnowingRecogniser
from benchmarks.providers import SpeakingTextToSpeech
from benchmarks.sayings import Saying
from providers.scripted import ScriptedLanguageModel
from telephony.carrier import CallOffered
from telephony.clock import LoopClock
from telephony.turn_end import SmartTurn, TurnEndModel
from telephony.vad import VoiceActivity
from tests.doubles import FRAME_S
from tests.virtual import run as in_virtual_time

AT_ONCE = 24
"""Calls that go on at the same time: the voice detector is cheaper for many than for one."""
LONG_REPLY = " ".join(
    f"This is sentence number {number} of a reply that goes on until somebody interrupts it."
    for number in ("one", "two", "three", "four")
)
SHORT_REPLY = "All right."
_AFTER_S = 2.2
"""How long is waited for what becomes of it."""
_SOUGHT = 2000
"""Bytes by which a place in the agent's voice is found: longer than its pauses."""

E = TypeVar("E", bound=JournalEvent)
R = TypeVar("R")


class Melody:
    """The turn-end model in virtual time: its verdict comes after what it takes in real time."""

    TAKES_S = 0.05

    def __init__(self, weights: Path) -> None:
        self._model = SmartTurn(weights)

    async def __aenter__(self) -> "Melody":
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    def judge(self, turn: bytes, told: Callable[[float], None]) -> None:
        asyncio.get_running_loop().call_later(self.TAKES_S, told, self._model.probability(turn))


@dataclass
class Scene:
    """A call in progress, and all that happened in it. Times in seconds on the loop's clock."""

    clock: LoopClock
    line: FarEnd
    recogniser: KnowingRecogniser
    voice: SpeakingTextToSpeech
    random: np.random.Generator
    events: list[tuple[float, JournalEvent]] = field(default_factory=list)

    def of(self, kind: type[E]) -> list[tuple[float, E]]:
        """When what of this kind happened."""
        return [(at, event) for at, event in self.events if isinstance(event, kind)]

    async def until(self, condition: Callable[[], bool], within_s: float = 30.0) -> None:
        """Wait until the condition holds, or long enough."""
        deadline = self.clock.now() + within_s
        while not condition() and self.clock.now() < deadline:  # noqa: ASYNC110 - polling costs nothing in virtual time
            await asyncio.sleep(FRAME_S)

    def listening(self) -> bool:
        """It is the caller's turn, and he has said nothing."""
        floors = self.of(FloorChanged)
        return bool(floors) and floors[-1][1].floor == Floor.LISTENING.value

    async def into_reply(self) -> None:
        """Wait for some moment in the reply."""
        await self.until(lambda: bool(self.line.heard))
        await asyncio.sleep(self.random.uniform(0.5, 4.0))


@dataclass(frozen=True)
class TurnTaken:
    """A turn of the caller: what became of it."""

    cut_in: bool
    """It was taken for ended before it was."""
    audible: bool
    """And the agent was heard, too."""
    latency_s: float | None
    """From the true end of speech to the recogniser's being asked for its last word."""
    words_kept: bool


@dataclass(frozen=True)
class Interruption:
    """Speech into a reply. Times from its onset; None: it never happened."""

    cleared_s: float | None
    committed_s: float | None
    words_kept: bool
    """What the model was told is what was said."""


@dataclass(frozen=True)
class Disturbance:
    """Something else than an interruption while the agent speaks."""

    holds: int
    lost: bool
    entered_context: bool
    resumed_s: tuple[float, ...]
    """How long after its end the agent went on; 0 if it did before."""
    words_lost: int
    words_doubled: int
    """Of the worst resume."""


def play(scenes: Sequence[Callable[[VoiceActivity], Coroutine[Any, Any, R]]]) -> list[R]:
    """All of them in virtual time, a number of calls at once; the results in order."""
    return in_virtual_time(_play(scenes))


async def _play(scenes: Sequence[Callable[[VoiceActivity], Coroutine[Any, Any, R]]]) -> list[R]:
    activity, played = VoiceActivity(), []
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(activity.run(LoopClock()))
        for start in range(0, len(scenes), AT_ONCE):
            async with asyncio.TaskGroup() as calls:
                tasks = [calls.create_task(scene(activity)) for scene in scenes[start : start + AT_ONCE]]
            played += [task.result() for task in tasks]
        ticking.cancel()
    return played


@asynccontextmanager
async def answered(
    activity: VoiceActivity, seed: int, reply: str, echo: Echo | None = None, melody: TurnEndModel | None = None
) -> AsyncIterator[Scene]:
    """A call whose agent greets with `reply` and answers everything with it."""
    clock, random = LoopClock(), np.random.default_rng(seed)
    await asyncio.sleep(random.uniform(0, 0.1))  # no two calls are in step
    recogniser, voice = KnowingRecogniser(clock), SpeakingTextToSpeech(clock)
    providers = Providers(recogniser, ScriptedLanguageModel(clock, lambda _: reply), voice)
    manners = Manners(greeting="", level_voice=False)  # the recogniser knows frames as they were spoken
    services = Services(providers, activity, Toolbox(), Phrasebook(), manners, Metrics(), clock, melody)
    session = CallSession("twilio", CallOffered(f"CA{seed}", "+15550100001", "+15550100002", "inbound"), services)
    line = FarEnd(clock, recogniser=recogniser, seed=seed, echo=echo)
    scene = Scene(clock, line, recogniser, voice, random)
    session.record.journal.listen(lambda event: scene.events.append((clock.now(), event)))
    async with asyncio.TaskGroup() as group:
        group.create_task(session.run())
        await asyncio.sleep(0)
        group.create_task(line.run())
        session.attach(line, "MZ1")
        yield scene
        session.caller_gone("completed")
        line.close()


async def turns(
    activity: VoiceActivity, seed: int, sayings: Sequence[Saying], melody: TurnEndModel | None = None
) -> list[TurnTaken]:
    """One caller, one turn after the other."""
    taken = []
    async with answered(activity, seed, SHORT_REPLY, melody=melody) as scene:
        for saying in sayings:
            await scene.until(scene.listening)
            await asyncio.sleep(scene.random.uniform(0.5, 1.0))
            began, end = scene.line.say(saying)
            await asyncio.sleep(end + 0.5 - scene.clock.now())
            await scene.until(scene.listening)
            taken.append(_turn_taken(scene, saying, began, end))
    return taken


def _turn_taken(scene: Scene, saying: Saying, began: float, end: float) -> TurnTaken:
    said = [(at, event.text) for at, event in scene.of(CallerSaid) if at > began]
    asked = [at for at in scene.recogniser.asked if said and began < at < said[-1][0]]
    audible = any(began < at < end for at, _ in scene.of(ReplyStarted))
    latency = asked[-1] - end if asked and said[-1][0] > end else None
    cut_in = any(at < end for at, _ in said)
    return TurnTaken(cut_in, audible, latency, " ".join(text for _, text in said) == saying.text)


async def interruption(activity: VoiceActivity, seed: int, saying: Saying, echo: Echo | None = None) -> Interruption:
    """Speech at some moment of a long reply."""
    async with answered(activity, seed, LONG_REPLY, echo) as scene:
        await scene.into_reply()
        began, end = scene.line.say(saying)
        await asyncio.sleep(end + _AFTER_S - scene.clock.now())
        cleared = [at - began for at in scene.line.clears if at > began]
        ended = [at - began for at, event in scene.of(ReplyEnded) if at > began and event.reason == "interrupted"]
        kept = " ".join(event.text for _, event in scene.of(CallerSaid)) == saying.text
        return Interruption(cleared[0] if cleared else None, ended[0] if ended else None, kept)


async def disturbance(
    activity: VoiceActivity, seed: int, saying: Saying | None, echo: Echo | None = None
) -> Disturbance:
    """Something that is no interruption at some moment of a long reply; or nothing but the agent's echo, for 10 s."""
    async with answered(activity, seed, LONG_REPLY, echo) as scene:
        await scene.into_reply()
        end = scene.clock.now() if saying is None else scene.line.say(saying)[1]
        await asyncio.sleep(end + (_AFTER_S if saying is not None else 10.0) - scene.clock.now())
        holds = [at for at, event in scene.of(FloorChanged) if event.floor == Floor.INTERRUPTED.value]
        ended = bool(scene.of(ReplyEnded))
        lost, doubled = (0, 0) if ended else _continuity(scene)
        return Disturbance(
            holds=len(holds),
            lost=ended,
            entered_context=bool(scene.of(CallerSaid)),
            resumed_s=tuple(_resumed_after(scene, hold, end if saying is not None else hold) for hold in holds),
            words_lost=lost,
            words_doubled=doubled,
        )


def _resumed_after(scene: Scene, hold: float, end: float) -> float:
    """Seconds from `end` until the agent was heard again after this hold; infinite if it was not."""
    stopped = hold + scene.line.delay_s + 2 * FRAME_S
    again = next((at for at, _ in scene.line.heard if at > stopped), None)
    return float("inf") if again is None else max(0.0, again - end)


def _continuity(scene: Scene) -> tuple[int, int]:
    """The most words that were lost, and that were said twice, where the agent went on after it was stopped."""
    stretches: list[bytearray] = []
    before = 0.0
    for at, frame in scene.line.heard:
        if at - before > 1.5 * FRAME_S:
            stretches.append(bytearray())
        stretches[-1] += frame
        before = at
    starts, whole = _word_starts(LONG_REPLY), scene.voice.sound
    lost = doubled = 0
    stopped_at = 0
    for number, stretch in enumerate(stretches):
        begin = whole.find(bytes(stretch[:_SOUGHT]))
        if number:
            lost = max(lost, sum(stopped_at <= start < begin for start in starts))
            doubled = max(doubled, sum(begin <= start < stopped_at for start in starts))
        tail = bytes(stretch[-_SOUGHT:])
        stopped_at = whole.find(tail, max(0, begin)) + len(tail)
    return lost, doubled


def _word_starts(text: str) -> list[int]:
    """Where the scripted voice begins each word, in samples: 60 ms for a letter, and for the space."""
    lengths = [(len(word) + 1) * 480 for word in text.split()]
    return [0, *accumulate(lengths)][:-1]
