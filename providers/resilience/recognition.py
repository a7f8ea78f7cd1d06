"""One call's recognition over several recognisers: whoever is lost is replaced, and nothing is lost with him.

All audio since the last final is kept in a ring. Whoever takes over hears it again from there, as fast as he takes it,
with the questions (`finalize`) that are still open at their places: so finals that came before a loss stay, no word
comes twice, and each question is answered exactly once.

    no recogniser ──► attempts: the first of the roster; the next one when that has failed, or takes `connect_s`
    first one connected ──► the others are dropped, the ring is replayed, its events are the call's
    lost, an answer overdue, or voice without a sign of life ──► no recogniser
    a question waits, and no recogniser ──► batch recognition of the utterance, where a vendor has it

An attempt is a task of its own from connecting to the loss, because a recognition must be left by who entered it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeAlias

from providers.base import (
    AudioReached,
    AudioSettled,
    BatchRecogniser,
    Buffered,
    FinalTranscript,
    ProviderSwitched,
    Recognition,
    RecognitionEvent,
    RecognitionGap,
    RecognitionLost,
    SpeechToText,
    UsageReported,
)
from providers.errors import ProviderError, ProviderRateLimited, ProviderTimedOut, ProviderUnavailable
from providers.resilience.backoff import pause_s
from providers.resilience.deadlines import Deadlines
from providers.resilience.pulse import Pulse
from providers.resilience.replay import ReplayRing, voiced
from providers.resilience.roster import Member, Roster, Trial
from telephony.audio import FRAME_BYTES, TELEPHONE
from telephony.clock import Alarm
from telephony.tasks import TaskGroup

KEEP_BYTES = TELEPHONE.bytes_of_ms(20_000)
"""Audio kept that no final covers: a long breath of a caller."""
_EVENTS_WAITING = 256
"""Events that nobody took; beyond that the oldest goes."""


_PRE_ROLL_BYTES = TELEPHONE.bytes_of_ms(500)
"""Of the silence before the first sound, so much is heard again."""
_CAUGHT_UP_BYTES = TELEPHONE.bytes_of_ms(1500)
"""One who is no further behind than that hears as it is said; what he tells comes that late by itself."""

_MOST_QUESTIONS = 16
"""That wait for an answer at a time; beyond that the oldest gets an empty one."""
_BATCH_AFTER_S = 0.3
"""Without a recogniser, a question waits so long before the utterance is recognised as a whole."""

Recogniser: TypeAlias = Member[SpeechToText]


@dataclass(slots=True, eq=False)
class _Seat:
    """One recogniser of the roster, as this call knows it."""

    member: Recogniser
    failures: int = 0
    batch_failures: int = 0
    retry_at: float = 0.0
    tells: bool = False
    """It tells how far it has come."""
    served_bytes: int = 0
    """Audio that it was sent since this was last told."""


@dataclass(slots=True, eq=False)
class _Attempt:
    """A recogniser on its way, or at work. `base`: where in the call the first byte stands that it was sent; what
    stands before `replayed` it hears again, until `caught_up_at` if it does not tell better."""

    seat: _Seat
    trial: Trial[SpeechToText]
    task: "asyncio.Task[None] | None" = None
    recognition: Recognition | None = None
    pulse: Pulse | None = None
    base: int = 0
    reached: int = 0
    replayed: int = 0
    caught_up: bool = False
    caught_up_at: float = 0.0
    proven: bool = False


@dataclass(slots=True, eq=False)
class _Question:
    """A `finalize`, asked behind the audio before `position`. `due`: whoever is at work has answered by then."""

    position: int
    asked_at: float
    due: float = 0.0
    tried: set[str] = field(default_factory=set)
    """Whose batch recognition was asked."""


class ResilientRecognition:
    """See `providers.base.Recognition`. `run` does the work until it is cancelled; it never gives up."""

    def __init__(self, roster: Roster[SpeechToText], deadlines: Deadlines, random: Random) -> None:
        self._roster = roster
        self._deadlines = deadlines
        self._random = random
        self._clock = roster.clock
        self._seats = {member.name: _Seat(member) for member in roster.members}
        self._ring = ReplayRing(KEEP_BYTES)
        self._questions: deque[_Question] = deque()
        self._live: _Attempt | None = None
        self._connecting: dict[_Seat, _Attempt] = {}
        self._hedge_at = self._away_since = float("-inf")
        self._failure: ProviderError | None = None
        """Why whoever listened last does no longer."""
        self._batch: asyncio.Task[None] | None = None
        self._batch_over = asyncio.Event()
        self._events: deque[RecognitionEvent] = deque(maxlen=_EVENTS_WAITING)
        self._told = asyncio.Event()
        self._work = Alarm(self._clock)

    # what the call asks

    @property
    def online(self) -> bool:
        """Somebody listens."""
        return self._live is not None

    def take_usage(self) -> tuple[UsageReported, ...]:
        """The audio that each provider was sent since this was last asked, replays and batches included."""
        served = []
        for name, seat in self._seats.items():
            if seat.served_bytes:
                served.append(UsageReported(name, {"audio_ms": round(TELEPHONE.ms(seat.served_bytes))}))
                seat.served_bytes = 0
        return tuple(served)

    def fills(self) -> Mapping[str, float]:
        """See `Buffered`: what may have to be heard again, and what the recogniser keeps back."""
        recognition = self._live.recognition if self._live is not None else None
        return {"replay": self._ring.fill, **(recognition.fills() if isinstance(recognition, Buffered) else {})}

    def send(self, audio: bytes) -> None:
        """See `Recognition.send`. What nobody hears now is heard later, as long as the ring holds it."""
        self._ring.add(audio)
        live = self._live
        if live is None:
            return
        self._say(live, audio)
        if live.pulse is not None and not live.pulse.owing and voiced(audio) and live.pulse.voice(self._clock.now()):
            self._work.ring()

    def finalize(self) -> None:
        """See `Recognition.finalize`."""
        now = self._clock.now()
        if len(self._questions) >= _MOST_QUESTIONS:
            if self._live is not None:  # who owes that many would go on to answer what is answered here
                self._give_up_on(self._live, self._answer_s(self._live))
            self._answer(self._questions[0], FinalTranscript("", finalized=True))
        question = _Question(self._ring.end, now)
        self._questions.append(question)
        if self._live is not None and self._live.recognition is not None:
            question.due = self._answered_by(self._live, now)
            self._live.recognition.finalize()
        self._work.ring()

    async def __aiter__(self) -> AsyncIterator[RecognitionEvent]:
        while True:
            while self._events:
                yield self._events.popleft()
            self._told.clear()
            await self._told.wait()

    def _tell(self, event: RecognitionEvent) -> None:
        self._events.append(event)
        self._told.set()

    def _say(self, attempt: _Attempt, audio: bytes) -> None:
        if attempt.recognition is not None and audio:
            attempt.recognition.send(audio)
            attempt.seat.served_bytes += len(audio)

    # who listens

    async def run(self) -> None:
        """Have somebody listen, and every question answered, until cancelled."""
        async with TaskGroup() as tasks:
            while True:
                now = self._clock.now()
                self._give_up_on_silence(now)
                self._give_up_on_the_stalled(now)
                if self._live is None:
                    self._begin_attempt(tasks, now)
                    self._begin_batch(tasks, now)
                else:
                    self._drop_attempts()
                await self._work.wait_until(self._due(now))

    def _begin_attempt(self, tasks: TaskGroup, now: float) -> None:
        """Connect who is next; nobody as long as the one before may still make it."""
        if self._connecting and now < self._hedge_at:
            return
        seats = (self._seats[member.name] for member in self._roster.order())
        seat = next((seat for seat in seats if seat not in self._connecting and seat.retry_at <= now), None)
        if seat is not None:
            if self._connecting:
                self._roster.count("provider_hedges", seat.member)
            self._connecting[seat] = attempt = _Attempt(seat, self._roster.begin(seat.member))
            self._hedge_at = now + self._deadlines.connect_s
            attempt.task = tasks.create_task(self._attempt(attempt))

    def _drop_attempts(self) -> None:
        """Somebody else was faster."""
        for attempt in self._connecting.values():
            if attempt.task is not None:
                attempt.task.cancel()
        self._connecting.clear()

    def _connected(self, attempt: _Attempt) -> None:
        if self._connecting.get(attempt.seat) is attempt:
            del self._connecting[attempt.seat]

    def _due(self, now: float) -> float | None:
        """When there is something to do even if nobody rings."""
        if self._live is not None:
            owed = self._live.pulse.due() if self._live.pulse is not None else None
            asked = self._questions[0].due if self._questions else None
            return min((at for at in (owed, asked) if at is not None), default=None)
        dues = [seat.retry_at for seat in self._seats.values() if seat not in self._connecting]
        if self._connecting:
            dues.append(self._hedge_at)
        if self._questions and self._batch is None:
            dues.append(self._batch_at(self._questions[-1]))
        return min((at for at in dues if at > now), default=None)

    async def _attempt(self, attempt: _Attempt) -> None:
        """Connect, listen, and lose it in the end. Cancelled when another one is at work, or at the end of the call."""
        seat = attempt.seat
        try:
            async with AsyncExitStack() as stack:
                recognition = await self._connect(stack, seat.member)
                while self._batch is not None:
                    await self._batch_over.wait()
                if self._live is not None:
                    return
                self._take_over(attempt, recognition)
                await self._listen(attempt, recognition)
        except ProviderError as failure:
            self._lose(attempt, failure)
        finally:
            attempt.trial.abandoned()
            self._connected(attempt)
            self._work.ring()

    async def _listen(self, attempt: _Attempt, recognition: Recognition) -> None:
        """Until it is lost; leaving it, which may take its time, is nothing that the call waits for."""
        name = attempt.seat.member.name
        failure: ProviderError = ProviderUnavailable(name, "the recognition ended by itself")
        try:
            async for event in recognition:
                self._take(attempt, event)
        except ProviderError as error:
            failure = error
        self._lose(attempt, failure)

    async def _connect(self, stack: AsyncExitStack, member: Recogniser) -> Recognition:
        patience_s = self._deadlines.give_up_s
        try:
            async with asyncio.timeout(patience_s):
                return await stack.enter_async_context(member.provider.open(TELEPHONE))
        except TimeoutError:
            raise ProviderTimedOut(member.name, "connect", patience_s) from None

    def _take_over(self, attempt: _Attempt, recognition: Recognition) -> None:
        """The call's recogniser from now on: it hears what is not settled yet, and the open questions."""
        now = self._clock.now()
        seat, ring = attempt.seat, self._ring
        attempt.recognition, self._live = recognition, attempt
        attempt.pulse = Pulse(self._deadlines.gap_s, now, tells=seat.tells)
        self._connected(attempt)
        lost_ms = TELEPHONE.ms(ring.take_lost())
        ring.settle_quiet(_PRE_ROLL_BYTES)
        replayed_ms = TELEPHONE.ms(ring.end - ring.begin)
        if self._failure is not None:
            self._tell(ProviderSwitched(self._failure, seat.member.name))
            self._roster.count("recognition_resumed", seat.member)
            self._gap(RecognitionGap(lost_ms, f"lost {self._failure}", replayed_ms), seat.member)
            self._failure = None
        elif lost_ms:
            self._gap(RecognitionGap(lost_ms, "no recogniser", replayed_ms), seat.member)
        attempt.base = attempt.reached = at = ring.begin
        attempt.replayed, attempt.caught_up_at = ring.end, now + replayed_ms / 1000
        for question in self._questions:
            self._replay(attempt, at, question.position)
            at = max(at, question.position)
            question.due = attempt.caught_up_at + self._answer_s(attempt)
            recognition.finalize()
        self._replay(attempt, at, ring.end)
        if ring.voiced_from(ring.begin):
            attempt.pulse.voice(now)
        self._work.ring()

    def _replay(self, attempt: _Attempt, begin: int, end: int) -> None:
        """Frame by frame, as a call would send it; how fast it is taken is the adapter's business."""
        for at in range(begin, end, FRAME_BYTES):
            self._say(attempt, self._ring.between(at, min(at + FRAME_BYTES, end)))

    # what is heard

    def _take(self, attempt: _Attempt, event: RecognitionEvent) -> None:
        if attempt is not self._live:
            return
        if attempt.pulse is not None:
            attempt.pulse.sign(self._clock.now())
        if isinstance(event, AudioReached):
            self._take_reached(attempt, event.reached_ms)
            return
        attempt.proven = True
        attempt.seat.failures = 0
        attempt.trial.succeeded()
        match event:
            case AudioSettled(settled_ms):
                self._ring.settle(attempt.base + TELEPHONE.bytes_of_ms(settled_ms))
            case FinalTranscript():
                self._take_final(attempt, event)
            case RecognitionGap():
                self._gap(event, attempt.seat.member)
            case _:
                self._tell(event)

    def _take_reached(self, attempt: _Attempt, reached_ms: float) -> None:
        attempt.seat.tells = True
        attempt.reached = attempt.base + TELEPHONE.bytes_of_ms(reached_ms)
        attempt.caught_up = attempt.caught_up or self._ring.end - attempt.reached <= _CAUGHT_UP_BYTES
        if attempt.pulse is not None:
            attempt.pulse.tells = True

    def _take_final(self, attempt: _Attempt, final: FinalTranscript) -> None:
        """A recogniser that cannot say what it has settled has settled all that it was asked about, or was sent. An end
        of turn in what is heard again is none, if the caller has spoken on since: that is for the ear to judge."""
        question = self._questions[0] if self._questions else None
        if final.settled_ms is not None:
            position = attempt.base + TELEPHONE.bytes_of_ms(final.settled_ms)
            self._ring.settle(position)
            if final.ends_turn and position < attempt.replayed and self._ring.voiced_from(position):
                final = replace(final, ends_turn=False)
        else:
            self._ring.settle(question.position if question is not None else self._ring.end)
        if not final.finalized or question is None:
            self._tell(replace(final, finalized=False, settled_ms=None))
            return
        self._answer(question, final)

    def _answer(self, question: _Question, final: FinalTranscript) -> None:
        self._questions.remove(question)
        self._tell(replace(final, settled_ms=None))
        self._work.ring()

    def _gap(self, gap: RecognitionGap, member: Recogniser) -> None:
        """Audio was lost, or is heard again, by this member."""
        for name, ms in (("recognition_lost_ms", gap.lost_ms), ("recognition_replayed_ms", gap.replayed_ms)):
            if ms:
                self._roster.instruments.add(name, ms, provider=member.name)
        self._tell(gap)

    # losses

    def _give_up_on_silence(self, now: float) -> None:
        """A recogniser that owes an answer for too long is lost, whatever else it does."""
        live = self._live
        if live is None or not self._questions or now < self._questions[0].due:
            return
        self._give_up_on(live, self._answer_s(live))

    def _give_up_on_the_stalled(self, now: float) -> None:
        """A recogniser that has stopped in the middle of what the caller says is lost, before he has ended."""
        live = self._live
        if live is None or live.pulse is None:
            return
        due = live.pulse.due()
        if due is not None and now >= due:
            self._give_up_on(live, live.pulse.patience_s)

    def _give_up_on(self, live: _Attempt, patience_s: float) -> None:
        stage = "gap" if live.proven else "first_result"
        if live.task is not None:
            live.task.cancel()
        self._lose(live, ProviderTimedOut(live.seat.member.name, stage, patience_s))

    def _answered_by(self, attempt: _Attempt, now: float) -> float:
        """When a question of now is answered at the latest: one who still hears again what was said gets the time
        that this takes."""
        if attempt.caught_up:
            behind_s = 0.0
        elif attempt.seat.tells:
            behind_s = TELEPHONE.ms(self._ring.end - attempt.reached) / 1000
        else:
            behind_s = max(0.0, attempt.caught_up_at - now)
        return now + behind_s + self._answer_s(attempt)

    def _answer_s(self, attempt: _Attempt) -> float:
        """How long an answer may take; one who is the only one is waited for longer."""
        alone = len(self._seats) == 1 and not isinstance(attempt.seat.member.provider, BatchRecogniser)
        if alone:
            return self._deadlines.give_up_s
        return self._deadlines.gap_s if attempt.proven else self._deadlines.first_result_s

    def _lose(self, attempt: _Attempt, failure: ProviderError) -> None:
        seat, now = attempt.seat, self._clock.now()
        was_live = self._live is attempt
        if attempt.recognition is not None and not was_live:
            return  # it was given up before
        if was_live:
            self._live = None
            self._away_since = now
            self._failure = failure
        seat.failures += 1
        attempt.trial.failed(failure)
        if attempt.proven:  # which told the breaker of its success already
            self._roster.begin(seat.member).failed(failure)
        seat.retry_at = now + self._pause_s(attempt, failure)
        self._hedge_at = now
        self._report(failure)

    def _pause_s(self, attempt: _Attempt, failure: ProviderError) -> float:
        """How long the one who failed is left alone by this call; one that had worked is asked again at once."""
        wanted_s = (failure.retry_after_s or 0.0) if isinstance(failure, ProviderRateLimited) else 0.0
        wanted_s = min(wanted_s, attempt.seat.member.breaker.settings.longest_rest_s)
        soon = self._clock.now() + self._deadlines.give_up_s
        if all(seat is attempt.seat or seat.retry_at > soon for seat in self._seats.values()):
            wanted_s = min(wanted_s, self._deadlines.give_up_s)  # who is asked too early is better than nobody
        if attempt.proven and not wanted_s:
            return 0.0
        return pause_s(attempt.seat.failures, self._random, wanted_s)

    def _report(self, failure: ProviderError) -> None:
        self._tell(RecognitionLost(failure, 0 if self._live is not None else self._failures_in_a_row()))
        self._work.ring()

    def _failures_in_a_row(self) -> int:
        seats = self._seats.values()
        counts = [seat.failures for seat in seats]
        counts += [seat.batch_failures for seat in seats if isinstance(seat.member.provider, BatchRecogniser)]
        return min(counts)

    # a whole utterance at once

    def _begin_batch(self, tasks: TaskGroup, now: float) -> None:
        """Nobody listens, and questions wait: the first who can is asked for all that was said up to the last."""
        if self._batch is not None or not self._questions:
            return
        question = self._questions[-1]  # its utterance has those in it of which nobody has made anything yet
        if now < self._batch_at(question):
            return
        seats = [self._seats[member.name] for member in self._roster.order()]
        for seat in sorted(seats, key=lambda seat: seat.batch_failures):  # or a dead one would be asked each time first
            recogniser = seat.member.provider
            if isinstance(recogniser, BatchRecogniser) and seat.member.name not in question.tried:
                question.tried.add(seat.member.name)
                self._batch_over.clear()
                self._batch = tasks.create_task(self._recognise(seat, recogniser, question))
                return

    def _batch_at(self, question: _Question) -> float:
        """A stream that is made anew at once knows more than a batch."""
        return max(question.asked_at, self._away_since) + _BATCH_AFTER_S

    async def _recognise(self, seat: _Seat, recogniser: BatchRecogniser, question: _Question) -> None:
        name, patience_s = seat.member.name, self._deadlines.first_result_s + self._deadlines.gap_s
        utterance = self._ring.between(self._ring.begin, question.position)
        try:
            text = ""
            if utterance:
                seat.served_bytes += len(utterance)
                async with asyncio.timeout(patience_s):
                    text = await recogniser.recognise(utterance, TELEPHONE)
        except TimeoutError:
            self._fail_batch(seat, ProviderTimedOut(name, "first_result", patience_s))
        except ProviderError as failure:
            self._fail_batch(seat, failure)
        else:
            seat.batch_failures = 0
            if lost_bytes := self._ring.take_lost():
                self._gap(RecognitionGap(TELEPHONE.ms(lost_bytes), "no recogniser"), seat.member)
            self._ring.settle(question.position)
            self._answer_up_to(question, text)
        finally:
            self._batch = None
            self._batch_over.set()
            self._work.ring()

    def _answer_up_to(self, question: _Question, text: str) -> None:
        """The question gets the text, those before it an empty answer. One that has its answer already, because there
        were too many, leaves the words to the turn as they are."""
        if question not in self._questions:
            self._tell(FinalTranscript(text))
            return
        while self._questions[0] is not question:
            self._answer(self._questions[0], FinalTranscript("", finalized=True))
        self._answer(question, FinalTranscript(text, finalized=True))

    def _fail_batch(self, seat: _Seat, failure: ProviderError) -> None:
        seat.batch_failures += 1
        self._report(failure)
