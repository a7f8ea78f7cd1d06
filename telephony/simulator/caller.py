"""The person who calls: performs a script, frame by frame, by what he hears. Sans I/O.

The script is a generator that is resumed once per frame: `yield None` lets 20 ms pass, anything else is an action. So
the code of each step reads as the step does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import assert_never

from telephony.simulator.ear import Ear, Phrase
from telephony.simulator.echopath import EchoPath
from telephony.simulator.notices import (
    AgentFellSilent,
    AgentSpeaks,
    CallerFellSilent,
    CallerPressed,
    CallerSpeaks,
    Watcher,
    nobody,
)
from telephony.simulator.script import AwaitHangUp, HangUp, Listen, Press, Say, Script, Wait
from telephony.simulator.sound import (
    FRAME_SAMPLES,
    SILENT_FRAME,
    comfort_noise,
    samples_of_ms,
    seconds,
)

KEY_MS = 250
"""From one key to the next."""
TALK_LIMIT_MS = 120_000
"""Nobody listens longer to an agent that does not come to an end."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """One utterance of the caller: its audible part, in samples of the call. `step` counts from 1."""

    step: int
    text: str
    start: int
    end: int
    interrupting: bool


@dataclass(frozen=True, slots=True)
class KeyPressed:
    """The caller presses a key now."""

    digit: str


@dataclass(frozen=True, slots=True)
class HungUp:
    """The caller hangs up now."""


Action = KeyPressed | HungUp


@dataclass(frozen=True, slots=True)
class Missed:
    """What the script waited for in vain."""

    step: int
    what: str
    measured: str


class Caller:
    """Each 20 ms: `speak()`, then `hear()` with what sounded at the same time."""

    def __init__(self, script: Script, watch: Watcher = nobody) -> None:
        self.ear = Ear()
        self.spoken: list[Spoken] = []
        self.missed: list[Missed] = []
        self.listened: dict[int, float] = {}
        """Step -> seconds from its beginning to the agent's first sound."""
        self.step = 0
        self._script = script
        self._watch = watch
        noise = (SILENT_FRAME,) if script.noise_dbfs is None else comfort_noise(script.noise_dbfs)
        self._quiet = cycle(noise)
        self._echo = EchoPath(script.echo) if script.echo is not None else None
        self._saying = b""
        self._attention = 0  # what the agent began to say before this sample is no answer
        self._sounding: Phrase | None = None
        self._performance = self._perform()

    @property
    def may_be_left(self) -> bool:
        """The script has nothing against the agent hanging up now."""
        steps = self._script.steps
        return self.step > len(steps) or (self.step > 0 and isinstance(steps[self.step - 1], AwaitHangUp))

    def speak(self) -> bytes:
        """The next 20 ms of the caller's voice, and of what his handset returns."""
        frame = self._voice()
        return frame if self._echo is None else self._echo.over(frame)

    def _voice(self) -> bytes:
        if not self._saying:
            return next(self._quiet)
        frame, self._saying = self._saying[:FRAME_SAMPLES], self._saying[FRAME_SAMPLES:]
        if not self._saying:
            self._watch(CallerFellSilent(seconds(self.spoken[-1].end)))
        return frame.ljust(FRAME_SAMPLES, SILENT_FRAME[:1])

    def hear(self, frame: bytes | None) -> tuple[Action, ...]:
        """Take the 20 ms that just sounded (None: silence); returns what the caller does now."""
        self.ear.hear(frame)
        if self._echo is not None:
            self._echo.returns(frame)
        if self.ear.sounding is not self._sounding:
            self._notice_agent()
        actions = []
        for action in self._performance:
            if action is None:
                break
            actions.append(action)
        return tuple(actions)

    # What a watcher is told

    def _notice_agent(self) -> None:
        before, self._sounding = self._sounding, self.ear.sounding
        last = self.spoken[-1] if self.spoken else None
        if before is not None:
            barge_in = last is not None and before.start < last.start < before.end
            stop_s = seconds(before.end - last.start) if last is not None and barge_in else None
            self._watch(AgentFellSilent(seconds(before.end), stop_s))
        if self._sounding is not None:
            since = last.end if last is not None else 0
            answering = all(phrase.start < since for phrase in self.ear.phrases[:-1])
            start = self._sounding.start
            self._watch(AgentSpeaks(seconds(start), seconds(start - since), answering))

    # The script

    def _perform(self) -> Iterator[Action | None]:
        for step in self._script.steps:
            self.step += 1
            match step:
                case Say():
                    yield from self._say(step)
                case Listen():
                    yield from self._listen(step)
                case Wait():
                    yield from self._wait(step.wait_ms)
                case Press():
                    yield from self._press(step)
                case HangUp():
                    yield HungUp()
                case AwaitHangUp():
                    yield from self._wait(step.at_most_ms)
                    self._miss("the agent hangs up", f"not within {step.at_most_ms:g} ms")
                case _:
                    assert_never(step)
        self.step += 1
        yield HungUp()

    def _say(self, step: Say) -> Iterator[None]:
        if step.interrupt_after_ms is not None:
            yield from self._await_moment(step, samples_of_ms(step.interrupt_after_ms))
        utterance = self._script.utterances[step.say]
        now = self.ear.position
        interrupting = step.interrupt_after_ms is not None
        spoken = Spoken(self.step, utterance.text, now + utterance.onset, now + utterance.end, interrupting)
        self.spoken.append(spoken)
        self._attention = spoken.start
        self._saying = utterance.audio
        self._watch(CallerSpeaks(seconds(spoken.start), utterance.text, self.ear.sounding is not None))
        while self._saying:
            yield None

    def _await_moment(self, step: Say, after: int) -> Iterator[None]:
        """Until the agent has spoken for `after` samples."""
        deadline = self.ear.position + samples_of_ms(step.at_most_ms)
        while (phrase := self._first_answer()) is None:
            if self.ear.position >= deadline:
                self._miss("the agent speaks, to be interrupted", f"silent for {step.at_most_ms:g} ms")
                return
            yield None
        while self.ear.position < phrase.start + after:
            if self.ear.silence >= samples_of_ms(self._script.finished_after_ms):
                spoke_ms = seconds(self.ear.phrases[-1].end - phrase.start) * 1000
                self._miss(f"the agent speaks for {seconds(after) * 1000:g} ms", f"for {spoke_ms:.0f} ms only")
                return
            yield None

    def _listen(self, step: Listen) -> Iterator[None]:
        began = self.ear.position
        deadline = began + samples_of_ms(step.at_most_ms)
        while (phrase := self._first_answer()) is None:
            if self.ear.position >= deadline:
                self._miss("the agent speaks", f"silent for {step.at_most_ms:g} ms")
                return
            yield None
        self.listened[self.step] = seconds(max(0, phrase.start - began))
        finished_after = samples_of_ms(step.finished_after_ms or self._script.finished_after_ms)
        deadline = self.ear.position + samples_of_ms(TALK_LIMIT_MS)
        while self.ear.silence < finished_after:
            if self.ear.position >= deadline:
                self._miss("the agent comes to an end", f"still speaking after {TALK_LIMIT_MS / 1000:g} s")
                return
            yield None
        self._attention = self.ear.position

    def _first_answer(self) -> Phrase | None:
        """The first phrase since the caller began to speak (or stopped listening) that outlasts his own speech."""
        spoke_until = self.spoken[-1].end if self.spoken else 0
        first = None
        for phrase in reversed(self.ear.phrases):
            if phrase.start < self._attention or phrase.end <= spoke_until:
                break
            first = phrase
        return first

    def _press(self, step: Press) -> Iterator[Action | None]:
        for digit in step.press:
            self._watch(CallerPressed(seconds(self.ear.position), digit))
            yield KeyPressed(digit)
            yield from self._wait(KEY_MS)

    def _wait(self, ms: float) -> Iterator[None]:
        until = self.ear.position + samples_of_ms(ms)
        while self.ear.position < until:
            yield None

    def _miss(self, what: str, measured: str) -> None:
        self.missed.append(Missed(self.step, what, measured))
