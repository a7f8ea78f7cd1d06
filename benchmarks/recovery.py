"""What breaks, and what of it a caller notices: faults at random moments of real calls to real processes.

A supervisor runs two workers on one store; the simulated carrier follows the real one's rules, and serves its REST API.
Every word of the agent is a tone of its own, so that the callers' recordings tell which words were heard and how often.
What is done to them: `benchmarks.outages.FAULTS`.
"""

import argparse
import asyncio
import difflib
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from benchmarks.outages import ACCOUNT, FAULTS, TOKEN, CannotBreak, bridge, cluster
from benchmarks.report import Report, against, quantile
from benchmarks.tones import SORRY, WORD_S, WRONG, words_heard
from telephony.clock import MonotonicClock
from telephony.simulator.call import place_call
from telephony.simulator.faults import Network, Stall
from telephony.simulator.line import Line
from telephony.simulator.report import CallReport, EndedBy
from telephony.simulator.rest import Exchange, RestApi
from telephony.simulator.script import Script, read_script

SUMMARY = "calls, words and seconds lost by resets, killed processes and deployments"

_FOREVER_MS = 3_600_000.0
_HEARD_SHARE, _UNHEARD_SHARE = 0.5, 0.39
"""A word of which less sounded was not heard again, or not heard at all: words count from their middle, give or take a
frame."""
Sound = tuple[float, str, float]
"""When (s), which word, and how much of it."""
_FRAME_S = 0.02
_EDGE_SHARE = 0.15
"""A frame in which a tone begins or ends sounds like any other word."""
_SCRIPT = """
title = "Two questions"
finished_after_ms = {patience_ms}
noise_dbfs = -65
[[step]]
listen = true
[[step]]
say = "Are you open on Saturday?"
[[step]]
listen = true
[[step]]
say = "Are you open on Saturday?"
[[step]]
listen = true
[[step]]
hang_up = true
"""
GOAL_S = 1.5
"""From a new stream's opening to the agent's sound."""
_STORED_WITHIN_S = 15.0
CALL_S = 17.0
"""About as long as an undisturbed call takes."""


@dataclass
class Outcome:
    """What the callers of one fault noticed."""

    calls: int = 0
    lost: int = 0
    faults_felt: int = 0
    """Streams that ended before their call did."""
    silence_s: list[float] = field(default_factory=list)
    """From the last sound of the agent to the next one, where he was cut in a reply."""
    resumed_s: list[float] = field(default_factory=list)
    """From a new stream's opening to that sound."""
    never_heard: int = 0
    heard_twice: int = 0
    caller_lost: int = 0
    """What callers said that was neither understood nor asked for again."""
    wrong_context: int = 0
    incomplete: int = 0
    """Journals without an end, or with a gap."""
    problems: list[str] = field(default_factory=list)
    """Lost calls first."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--calls", type=int, default=100, help="calls for each fault")
    parser.add_argument("--faults", default=",".join(FAULTS), help=f"of {', '.join(FAULTS)}")
    parser.add_argument("--seed", type=int, default=1)


def measure(told: argparse.Namespace) -> Report:
    """Each fault in turn, with a fresh bridge."""
    report = Report("recovery")
    table = report.table(
        "What callers noticed",
        *("fault", "calls", "felt it", "lost", "silence p50 s", "p95 s", "resumed p95 s", ""),
        *("words never heard", "heard twice", "turns lost", "wrong context", "journals cut"),
    )
    for name in told.faults.split(","):
        try:
            outcome = asyncio.run(trial(name, told.calls, told.seed))
        except CannotBreak as reason:
            report.notes.append(f"{name}: not measured: {reason}")
            continue
        resumed = quantile(outcome.resumed_s, 0.95)
        table.add(
            *(name, outcome.calls, outcome.faults_felt, outcome.lost),
            *(quantile(outcome.silence_s, 0.5), quantile(outcome.silence_s, 0.95), resumed, against(resumed, GOAL_S)),
            *(outcome.never_heard, outcome.heard_twice, outcome.caller_lost, outcome.wrong_context, outcome.incomplete),
        )
        report.notes += [f"{name}: {problem}" for problem in outcome.problems[:10]]
    return report


async def trial(name: str, calls: int, seed: int, up: asyncio.Event | None = None) -> Outcome:
    """So many calls at once, and one fault. Raises `CannotBreak`. `up` is set when the bridge is ready."""
    chance, fault, exchange = random.Random(f"{name}{seed}"), FAULTS[name], Exchange()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        api = await stack.enter_async_context(RestApi(exchange, ACCOUNT, TOKEN))
        store = stack.enter_context(fault.store())
        serving = cluster(folder, api.url) if fault.cluster else bridge(folder, api.url, store=store)
        running = await stack.enter_async_context(serving)
        if up is not None:
            up.set()
        line = line_to(running.url, exchange)
        script = conversation(fault.patience_ms)
        async with asyncio.TaskGroup() as group:
            starts = [chance.uniform(0.0, fault.begin_within_s) for _ in range(calls)]
            placed = [group.create_task(_place(line, script, name, chance, start)) for start in starts]
            group.create_task(fault.disturb(running, chance))
        outcome = Outcome()
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=running.url, timeout=20.0))
        for task in placed:
            await judge(task.result(), client, outcome)
    return outcome


def line_to(url: str, exchange: Exchange) -> Line:
    """The carrier's way to a bridge."""
    return Line(
        url,
        voice_path="/twilio/voice#rc=3&rp=all",  # as the README recommends
        account_sid=ACCOUNT,
        auth_token=TOKEN,
        allow_plain_ws=True,
        follow_events=False,
        exchange=exchange,
    )


def conversation(patience_ms: int) -> Script:
    """A caller with two questions, who takes so long a silence for the agent's end."""
    return read_script(_SCRIPT.format(patience_ms=patience_ms), Path())


async def _place(line: Line, script: Script, fault: str, chance: random.Random, after_s: float) -> CallReport:
    at_s = chance.uniform(1.0, CALL_S - 2.0)
    if fault == "reset":
        line = replace(line, network=Network(drop_at_s=at_s))
    elif fault == "half-open":
        line = replace(line, network=Network(stalls=(Stall(at_s, _FOREVER_MS),)))
    await asyncio.sleep(after_s)
    return await place_call(line, script, MonotonicClock())


# what was noticed


async def judge(report: CallReport, client: httpx.AsyncClient, outcome: Outcome) -> None:
    """One call, by its recording and by its journal."""
    outcome.calls += 1
    assert report.recording is not None, "because: the line records"
    events = await _journal(report.call_sid, client)
    incomplete = not any(event["kind"] == "call_ended" for event in events) or any(
        event["kind"] == "journal_gap" for event in events
    )
    outcome.incomplete += incomplete
    replies = [event for event in events if event["kind"] == "reply_ended"]
    turns = [event for event in events if event["kind"] == "caller_said" and event["text"]]
    sounds = joined([sound for sound in words_heard(report.recording.agent) if sound[2] > _EDGE_SHARE])
    said = [word for reply in replies for word in reply["said" if _whole(reply) else "heard"].split()]
    never, _ = compared(said, [word for _, word, share in sounds if share >= _UNHEARD_SHARE])
    _, twice = compared(said, [word for _, word, share in sounds if share >= _HEARD_SHARE])
    outcome.never_heard += never
    outcome.heard_twice += twice
    asked_again = sum(reply["said"] == SORRY for reply in replies)
    unheard = max(0, len(report.exchanges) - len(turns) - asked_again)
    outcome.caller_lost += unheard
    wrong = sum(WRONG in reply["said"].split() for reply in replies)
    outcome.wrong_context += wrong
    lost = report.ended_by is not EndedBy.CALLER or any(missed.passed is False for missed in report.verdicts)
    outcome.lost += lost
    resumed_s = _time(report, sounds, replies, outcome)
    many = twice > max(0, len(report.streams) - 1)
    if lost or never or unheard or wrong or incomplete or many or max(resumed_s, default=0.0) > GOAL_S:
        outcome.problems.insert(
            0 if lost else len(outcome.problems),
            f"{report.call_sid}: ended by {report.ended_by} after {report.duration_s:.1f} s, never heard {never}, "
            f"twice {twice}, turns lost {unheard}, streams {[(s.opened_s, s.closed_s) for s in report.streams]}, "
            f"resumed {resumed_s}, warnings {[warning.code for warning in report.warnings]}, replies "
            f"{[(reply['reason'], reply['said']) for reply in replies]}, kinds {[e['kind'] for e in events[-4:]]}, "
            f"heard {[(at, word, share) for at, word, share in sounds]}",
        )


async def _journal(call_id: str, client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """What is stored of a call; what waits for a store that was away is waited for."""
    deadline = time.monotonic() + _STORED_WITHIN_S
    while True:
        answer = await client.get(f"/api/calls/{call_id}")
        events: list[dict[str, Any]] = answer.json().get("events", []) if answer.status_code == 200 else []
        if any(event["kind"] == "call_ended" for event in events) or time.monotonic() > deadline:
            return events
        await asyncio.sleep(0.2)


def _whole(reply: dict[str, Any]) -> bool:
    """The caller was to hear all of it; else he interrupted, and was to hear what the agent takes for heard."""
    return reply["reason"] in ("completed", "lost")


def joined(sounds: Sequence[Sound]) -> list[Sound]:
    """The sounds; two halves of a word with a gap between them, where the network or the machine was slow, as one."""
    whole: list[Sound] = []
    for at, word, share in sounds:
        before = whole[-1] if whole else None
        if before is not None and before[1] == word and before[2] + share <= 1 + 2 * _EDGE_SHARE:
            whole[-1] = (before[0], word, before[2] + share)
        else:
            whole.append((at, word, share))
    return whole


def _time(
    report: CallReport, sounds: Sequence[Sound], replies: Sequence[dict[str, Any]], outcome: Outcome
) -> list[float]:
    """How long the agent was silent over each fault that hit him while he spoke, or while he was being told things.
    One whose reply the caller has interrupted meanwhile has nothing to go on with."""
    said = [reply["said" if _whole(reply) else "heard"].split() for reply in replies]
    openings = {words[0] for words in said if words}
    endings = {words[-1] for words in said if words}
    resumed_s = []
    for _, after in pairwise(report.streams):
        outcome.faults_felt += 1
        opened_s = after.opened_s - _FRAME_S  # a sound begins with its frame in the recording, perhaps a little earlier
        before = [(at + WORD_S * share, word) for at, word, share in sounds if at < opened_s]
        first = next(((at, word) for at, word, _ in sounds if at >= opened_s), None)
        if not before or first is None:
            continue
        in_mid_reply = before[-1][1] not in endings or first[1] not in openings
        if in_mid_reply:
            outcome.silence_s.append(first[0] - before[-1][0])
        if in_mid_reply or first[1] in SORRY.split():
            resumed_s.append(max(0.0, first[0] - after.opened_s))
    outcome.resumed_s += resumed_s
    return resumed_s


def compared(said: list[str], heard: list[str]) -> tuple[int, int]:
    """Words that were said and never heard, and words that were heard once more than they were said."""
    never = twice = 0
    for kind, a, b, c, d in difflib.SequenceMatcher(None, said, heard, autojunk=False).get_opcodes():
        if kind in ("delete", "replace"):
            never += b - a
        if kind in ("insert", "replace"):
            twice += d - c
    return never, twice
