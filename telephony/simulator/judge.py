"""Whether a call was as its script expects: each expectation with what was measured."""

import re
from collections.abc import Iterator, Sequence

from telephony.simulator.bridge import BridgeEvent
from telephony.simulator.caller import Caller
from telephony.simulator.measure import Exchange
from telephony.simulator.report import CallReport, EndedBy, Verdict
from telephony.simulator.script import Expected, Listen, Say, Script


def judge(script: Script, caller: Caller, report: CallReport) -> tuple[Verdict, ...]:
    """The verdict on each expectation: of the steps, of what the caller waited for in vain, of the call as a whole."""
    return (
        *_judge_steps(script, caller, report),
        *(Verdict(missed.step, missed.what, False, missed.measured) for missed in caller.missed),
        _judge_end(script, caller, report),
        *_judge_call(script.expect, report),
    )


def words_heard(exchange: Exchange, after: Exchange | None, events: Sequence[BridgeEvent]) -> str:
    """What the bridge understood between the beginning of this utterance and the next."""
    until = after.from_s if after else float("inf")
    said = (event for event in events if event.kind == "caller_said" and exchange.from_s <= event.at_s < until)
    return " ".join(str(event.fields.get("text", "")) for event in said).strip()


def _judge_steps(script: Script, caller: Caller, report: CallReport) -> Iterator[Verdict]:
    by_step = {exchange.step: exchange for exchange in report.exchanges}
    for number, step in enumerate(script.steps, 1):
        if isinstance(step, Listen) and step.begins_within_ms is not None and number in caller.listened:
            began_s = caller.listened[number]
            yield _within(number, "the agent begins to speak", step.begins_within_ms, began_s)
        elif isinstance(step, Say) and number in by_step:
            yield from _judge_say(number, step, by_step[number], report)


def _judge_say(number: int, step: Say, exchange: Exchange, report: CallReport) -> Iterator[Verdict]:
    if step.answer_within_ms is not None:
        yield _within(number, "the agent answers", step.answer_within_ms, exchange.onset_s)
    if step.stop_within_ms is not None:
        yield _within(number, "the agent stops", step.stop_within_ms, exchange.stop_s)
    if step.goes_on_within_ms is not None:
        yield _within(number, "the agent goes on", step.goes_on_within_ms, exchange.gone_on_s)
    wanted = [(word, True) for word in step.understood] + [(word, False) for word in step.not_understood]
    if not wanted:
        return
    following = report.exchanges[exchange.number :]
    heard = words_heard(exchange, following[0] if following else None, report.events)
    for word, present in wanted:
        expected = f"the bridge {'understands' if present else 'does not understand'} {word!r}"
        if not report.events_offered:
            yield Verdict(number, expected, None, "the bridge offers no call API")
        else:
            yield Verdict(number, expected, _contains(heard, word) is present, f"it understood {heard!r}")


def _contains(heard: str, words: str) -> bool:
    return re.search(rf"\b{re.escape(words)}\b", heard, re.IGNORECASE) is not None


def _within(step: int | None, what: str, limit_ms: float, measured_s: float | None) -> Verdict:
    if measured_s is None:
        return Verdict(step, f"{what} within {limit_ms:g} ms", False, "it did not")
    measured_ms = measured_s * 1000
    return Verdict(step, f"{what} within {limit_ms:g} ms", measured_ms <= limit_ms, f"{measured_ms:.0f} ms")


def _judge_end(script: Script, caller: Caller, report: CallReport) -> Verdict:
    expected = "the call lasts until the script is through"
    by = report.ended_by
    if by is EndedBy.CALLER or (by is EndedBy.AGENT and caller.may_be_left):
        return Verdict(None, expected, True, f"ended by the {by.value}")
    at = f"in step {caller.step} of {len(script.steps)}" if caller.step else "before its first step"
    return Verdict(None, expected, False, f"ended by the {by.value.replace('_', ' ')} {at}")


def _judge_call(expect: Expected, report: CallReport) -> Iterator[Verdict]:
    if expect.answers is not None:
        answers = sum(exchange.onset_s is not None for exchange in report.exchanges)
        yield Verdict(None, f"{expect.answers} answers", answers == expect.answers, f"{answers}")
    if expect.gaps_at_most is not None:
        lengths = ", ".join(f"{gap.length_s * 1000:.0f} ms at {gap.at_s:.2f} s" for gap in report.gaps)
        passed = len(report.gaps) <= expect.gaps_at_most
        yield Verdict(None, f"at most {expect.gaps_at_most} gaps in the agent's speech", passed, lengths or "none")
    if expect.answer_p90_ms is not None:
        p90_s = report.onset_s.p90 if report.onset_s else None
        yield _within(None, "90 % of the answers begin", expect.answer_p90_ms, p90_s)
