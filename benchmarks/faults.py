"""What a caller notices when a vendor fails: every kind of fault, injected into live calls, by who listens, thinks and
speaks.

Each call has a bridge and vendors of its own, on loopback: the real SDKs against the faithful fakes of the tests. The
caller asks one question; the fault strikes within it (recogniser) or within the answer (model, voice), once, and
whoever is asked next serves. The voices spell their text, so that the recording of what the caller heard can be read.
Counted are calls that were lost (ended by the bridge, or a word of the answer was never heard), the silence beyond the
same call without a fault (before the answer, or within it), what he heard twice (three words in a row, or more),
and words of the caller that are missing or doubled in the transcript.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.report import Report, Table, against, quantile
from benchmarks.sickvendors import ANSWER, FAULTS, QUESTION, Ear, Mind, SecondMind, Voice, register
from telephony.audio import MULAW_SILENCE
from telephony.clock import MonotonicClock
from telephony.simulator.call import place_call
from telephony.simulator.line import Line
from telephony.simulator.report import CallReport, EndedBy
from telephony.simulator.script import HangUp, Listen, Say, Script
from telephony.simulator.voice import Utterance
from tests.fakes.deepgram import say
from tests.fakes.elevenlabs import heard
from tests.serving import bridge

SUMMARY = "what callers notice when vendors fail"

_MOST_SILENCE_S = 1.5
_RUN = 3
_FINISHED_AFTER_MS = 2500.0
"""Longer than any silence that is allowed, so that the caller does not take a pause for the end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--calls", type=int, default=20, help="calls for each fault")
    parser.add_argument("--at-once", type=int, default=5)
    parser.add_argument("--alone", action="store_true", help="one vendor of each kind, nobody to switch to")
    parser.add_argument("--kind", choices=sorted(FAULTS), help="only who listens (stt), thinks (llm) or speaks (tts)")


@dataclass(frozen=True)
class Outcome:
    """One call, as the caller heard it and the journal has it."""

    lost: bool
    onset_s: float
    pause_s: float
    said_twice: int
    words_wrong: int

    def silence_s(self, healthy: "Outcome") -> float:
        """Beyond the healthy call's."""
        return max(self.onset_s - healthy.onset_s, self.pause_s - healthy.pause_s)


def measure(told: argparse.Namespace) -> Report:
    """All faults of all kinds, after some calls without any."""
    return asyncio.run(_measure(told))


async def _measure(told: argparse.Namespace) -> Report:
    register()
    report = Report("faults")
    vendors = "one vendor of each kind" if told.alone else "a second model and voice"
    table = report.table(
        f"{told.calls} calls with each fault, {vendors}",
        *(
            "fault",
            "calls",
            "lost",
            "silence p50, s",
            "max, s",
            "said twice",
            "words wrong",
            "goal: none, <= 1.5 s",
            "",
        ),
    )
    place = partial(_calls, told.calls, told.at_once, alone=told.alone)
    sound = await place("", "")
    healthy = Outcome(False, _median([one.onset_s for one in sound]), _median([one.pause_s for one in sound]), 0, 0)
    _tell(table, "none", sound, healthy)
    for kind, names in FAULTS.items():
        if told.kind in (None, kind):
            for name in names:
                _tell(table, f"{kind} {name}", await place(kind, name), healthy)
    report.notes.append(
        f"Without a fault the answer begins {healthy.onset_s:.2f} s after the question, at the caller's ear."
    )
    return report


async def _calls(calls: int, at_once: int, kind: str, fault: str, *, alone: bool) -> list[Outcome]:
    admitted = asyncio.Semaphore(at_once)

    async def one() -> Outcome:
        async with admitted:
            return _outcome(await _call(kind, fault, alone=alone))

    async with asyncio.TaskGroup() as group:
        placed = [group.create_task(one()) for _ in range(calls)]
    return [task.result() for task in placed]


async def _call(kind: str, fault: str, *, alone: bool) -> CallReport:
    """One call that meets one fault. The caller's words are tones, which the voice detector does not take for speech:
    the ear is told to be patient with them."""
    with tempfile.TemporaryDirectory() as folder:
        async with Ear() as ear, Voice() as voice, Mind() as mind, SecondMind() as second:
            mind.on_question = partial(voice.suffer, fault) if kind == "tts" else None
            if kind == "llm":
                mind.fault = fault
            if kind == "stt":
                ear.armed = fault
            providers = {} if alone else {"LLM_PROVIDER": "anthropic,openai", "TTS_PROVIDER": "elevenlabs,second"}
            environment: Mapping[str, str] = {
                **ear.environment,
                **mind.environment,
                **({} if alone else second.environment),
                **voice.environment,
                **providers,
                "GREETING": "Hello.",
                "SILENCE_S": "60",
                "MAX_LAG_MS": "60000",  # a call that is not taken meets no fault
                **dict.fromkeys(("ENDPOINT_MS", "ENDPOINT_COMPLETE_MS", "ENDPOINT_TRAILING_MS"), "1800"),
            }
            async with bridge(Path(folder), **environment) as url:
                return await place_call(Line(url=url, allow_plain_ws=True), _script(), MonotonicClock())


def _script() -> Script:
    sound = say(QUESTION)
    spoken = Utterance("question", sound, 0, len(sound))
    return Script(
        "faults",
        (Listen(), Say(say="question"), Listen(), HangUp()),
        {"question": spoken},
        _FINISHED_AFTER_MS,
        noise_dbfs=-70.0,
    )


def _outcome(call: CallReport) -> Outcome:
    assert call.recording is not None, "because: the line records"
    exchange = call.exchanges[0] if call.exchanges else None
    spelled = heard(call.recording.agent)
    understood = " ".join(event.fields["text"] for event in call.events if event.kind == "caller_said").split()
    answered = exchange is not None and exchange.onset_s is not None and in_order(ANSWER.split(), spelled)
    wanted = QUESTION.split()
    return Outcome(
        lost=call.ended_by is not EndedBy.CALLER or not answered,
        onset_s=exchange.onset_s if exchange is not None and exchange.onset_s is not None else float("inf"),
        pause_s=_longest_pause_s(call) if answered else float("inf"),
        said_twice=said_again(ANSWER.split(), spelled),
        words_wrong=len(set(wanted) ^ set(understood)) + abs(len(understood) - len(set(understood))),
    )


def in_order(words: Sequence[str], spelled: str) -> bool:
    """All of them were heard, one after the other, whatever else was."""
    at = 0
    for word in words:
        at = spelled.find(word, at) + len(word)
        if at < len(word):
            return False
    return True


def said_again(words: Sequence[str], spelled: str) -> int:
    """How many runs of three words were heard more often than they were written. Fewer may sound again where one voice
    goes on for another."""
    runs = {" ".join(words[at : at + _RUN]) for at in range(len(words) - _RUN + 1)}
    text = " ".join(words)
    return sum(max(0, spelled.count(run) - text.count(run)) for run in runs)


def _longest_pause_s(call: CallReport) -> float:
    """Silence within the answer."""
    assert call.recording is not None
    exchange = call.exchanges[0]
    assert exchange.answered_at_s is not None
    assert exchange.answered_until_s is not None
    answer = call.recording.agent[int(exchange.answered_at_s * 8000) : int(exchange.answered_until_s * 8000)]
    quiet = bytes([MULAW_SILENCE])
    loud = answer.translate(bytes(0 if code in (0x7F, quiet[0]) else 1 for code in range(256)))
    return max(map(len, loud.split(b"\1")), default=0) / 8000


def _median(values: list[float]) -> float:
    return quantile(values, 0.5) or 0.0


def _tell(table: Table, name: str, found: list[Outcome], healthy: Outcome) -> None:
    silences = [one.silence_s(healthy) for one in found if not one.lost]
    lost, twice = sum(one.lost for one in found), sum(one.said_twice for one in found)
    wrong, slowest = sum(one.words_wrong for one in found), max(silences, default=None)
    good = not lost and not twice and not wrong and against(slowest, _MOST_SILENCE_S) == "reached"
    verdict = "reached" if good else "missed"
    table.add(name, len(found), lost, quantile(silences, 0.5), slowest, twice, wrong, "", verdict)
