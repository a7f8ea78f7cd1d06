"""A call in words, for a person at a terminal: what is going on, and afterwards what came of it. Prints nothing."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, assert_never

from telephony.simulator.measure import Percentiles, percentiles
from telephony.simulator.notices import (
    AgentFellSilent,
    AgentSpeaks,
    BridgeReported,
    CallerFellSilent,
    CallerPressed,
    CallerSpeaks,
    CallOver,
    CarrierWarned,
    Notice,
    VerbFollowed,
)
from telephony.simulator.report import CallReport, Verdict

BAR_S = 0.1
"""What one block of a latency bar stands for."""
BAR_BLOCKS = 20


class Narrator:
    """Turns notices into lines, and keeps the state of the moment for a status line."""

    def __init__(self) -> None:
        self.caller_speaks = False
        self.agent_speaks = False
        self.hearing = ""
        """What the bridge understands so far of what the caller is saying."""

    def tell(self, notice: Notice) -> str | None:
        """The line for `notice`; None when it only changes the state of the moment."""
        match notice:
            case CallerSpeaks():
                self.caller_speaks = True
                how = "barges in: " if notice.barge_in else ""
                return _line(notice.at_s, "caller", f"{how}“{notice.text}”")
            case CallerFellSilent():
                self.caller_speaks = False
                return None
            case CallerPressed():
                return _line(notice.at_s, "caller", f"presses {notice.digit}")
            case AgentSpeaks():
                self.agent_speaks = True
                return _line(notice.at_s, "agent", _onset(notice)) if notice.answering else None
            case AgentFellSilent():
                self.agent_speaks = False
                stopped = f"stops {notice.stop_s * 1000:.0f} ms after the barge-in" if notice.stop_s is not None else ""
                return _line(notice.at_s, "agent", stopped) if stopped else None
            case BridgeReported():
                return self._tell_bridge(notice)
            case VerbFollowed():
                return _line(notice.at_s, "carrier", notice.verb)
            case CarrierWarned():
                return _line(notice.at_s, "carrier", f"warning {notice.code}: {notice.detail}")
            case CallOver():
                return _line(notice.at_s, "", f"call ended by the {notice.ended_by.replace('_', ' ')}")
            case _:
                assert_never(notice)

    def status(self, at_s: float) -> str:
        """The moment: who speaks, and what is being understood."""
        caller = "● caller" if self.caller_speaks else "○ caller"
        agent = "● agent" if self.agent_speaks else "○ agent"
        return f"{at_s:7.2f}  {caller}  {agent}  {self.hearing}"

    def _tell_bridge(self, notice: BridgeReported) -> str | None:
        fields = notice.fields
        match notice.kind:
            case "caller_partial":
                self.hearing = f"… {fields.get('text', '')}"
                return None
            case "caller_said":
                self.hearing = ""
                return _line(notice.at_s, "bridge", f"understood “{fields.get('text', '')}”")
            case "reply_ended":
                return _line(notice.at_s, "bridge", _reply(fields))
            case "turn_measured":
                measured = _stages(fields)
                return _line(notice.at_s, "bridge", measured) if measured else None
            case _:
                return None


def _line(at_s: float, who: str, what: str) -> str:
    return f"{at_s:7.2f}  {who:<8}{what}"


def _onset(notice: AgentSpeaks) -> str:
    blocks = min(BAR_BLOCKS, max(1, round(notice.after_s / BAR_S)))
    return f"speaks after {notice.after_s * 1000:.0f} ms  {'▇' * blocks}"


def _reply(fields: Mapping[str, Any]) -> str:
    said, heard = str(fields.get("said", "")), fields.get("heard")
    if heard is None or str(heard).strip() == said.strip():
        return f"said “{said}”"
    return f"said “{said}”, of which was heard “{heard}”"


def _stages(fields: Mapping[str, Any]) -> str:
    """From the end of the speech to the answer's, as the bridge counts it, and the budgets that it exceeded."""
    stamps = fields.get("stamps")
    parts = []
    if isinstance(stamps, Mapping):
        for name, start, end in (
            ("turn end", "speech_ended", "turn_ended"),
            ("transcript", "turn_ended", "asr_complete"),
            ("first token", "asr_complete", "llm_first_token"),
            ("first speech", "llm_first_token", "tts_first_chunk"),
        ):
            if isinstance(stamps.get(start), int | float) and isinstance(stamps.get(end), int | float):
                parts.append(f"{name} {(stamps[end] - stamps[start]) * 1000:.0f} ms")
    breaches = fields.get("breaches")
    if breaches:
        parts.append(f"over budget: {', '.join(map(str, breaches))}")
    return " · ".join(parts)


def summary(reports: Sequence[CallReport]) -> Iterator[str]:
    """What came of one call or of many, and every expectation that was not met."""
    many = len(reports) > 1
    exchanges = [exchange for report in reports for exchange in report.exchanges]
    if many:
        yield f"{len(reports)} calls, {sum(bool(report.failed) for report in reports)} with failed expectations"
    yield _figures("answers", percentiles(exchange.onset_s for exchange in exchanges))
    yield _figures("barge-ins", percentiles(exchange.stop_s for exchange in exchanges))
    gaps = [gap.length_s for report in reports for gap in report.gaps]
    yield f"  {'gaps':<10}{f'{len(gaps)}, the longest {max(gaps) * 1000:.0f} ms' if gaps else 'none'}"
    frames = sum(report.pace.frames for report in reports)
    late = sum(report.pace.late for report in reports)
    worst_ms = max(report.pace.worst_ms for report in reports)
    if frames and late / frames > 0.01:
        yield f"  pace      {late / frames:.1%} of our frames were late, by up to {worst_ms:.0f} ms: judge with care"
    verdicts = [verdict for report in reports for verdict in report.verdicts]
    counts = [sum(verdict.passed is passed for verdict in verdicts) for passed in (True, False, None)]
    yield f"  expected  {counts[0]} met, {counts[1]} failed, {counts[2]} not to be judged"
    for report in reports:
        for verdict in report.failed:
            yield f"  FAILED    {f'{report.call_sid}: ' if many else ''}{_verdict(verdict)}"
    unjudged = sorted({verdict.measured for verdict in verdicts if verdict.passed is None})
    yield from (f"  not judged: {why}" for why in unjudged)


def _figures(name: str, figures: Percentiles | None) -> str:
    if figures is None:
        return f"  {name:<10}none"
    shares = "  ".join(
        f"{share} {value * 1000:.0f} ms"
        for share, value in (("p50", figures.p50), ("p90", figures.p90), ("p99", figures.p99))
    )
    return f"  {name:<10}{figures.count}: {shares}"


def _verdict(verdict: Verdict) -> str:
    where = f"step {verdict.step}: " if verdict.step is not None else ""
    return f"{where}{verdict.expected}; measured: {verdict.measured}"
