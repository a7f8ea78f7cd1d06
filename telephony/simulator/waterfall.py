"""The latency waterfall of a call as a picture: for each turn, where the time between two voices went.

Loaded only when a picture is wanted: matplotlib is an extra, and takes a second to import.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from telephony.simulator.measure import Exchange
from telephony.simulator.report import CallReport
from telephony.simulator.stages import Stamps, stamps_by_exchange

CALLER, AGENT, INK, FAINT = "#8d99ae", "#2a9d8f", "#22313f", "#e3e7ee"
BEFORE_S, AFTER_S, SHORTEST_S = 0.5, 0.6, 1.0
"""How much of the caller's speech and of the answer is shown, and the least width of the picture."""
BAR, PANEL_INCHES, LANE_INCHES = 0.62, 0.55, 0.22


@dataclass(frozen=True, slots=True)
class Stage:
    """A lane of the picture: pale from `start` until its first result, strong from there to its end."""

    lane: str
    start: str
    first: str
    end: str
    strong: str
    pale: str


STAGES = (
    Stage("turn end", "speech_ended", "turn_ended", "turn_ended", "#b5838d", "#ecdcdf"),
    Stage("recognition", "asr_started", "asr_partial", "asr_complete", "#457b9d", "#c5d9e6"),
    Stage("model", "llm_started", "llm_first_token", "llm_complete", "#7b5ea7", "#dcd2ea"),
    Stage("speech", "tts_started", "tts_first_chunk", "tts_complete", "#e08e45", "#f6dfc8"),
)


def draw(report: CallReport, path: Path) -> None:
    """Write the picture of `report` to `path` (a PNG). A call without a word from the caller gives an empty frame."""
    stamps = stamps_by_exchange(report.events, report.exchanges)
    known = {name for turn in stamps.values() for name in turn}
    lanes = ("caller", *(stage.lane for stage in STAGES if known & {stage.start, stage.first}), "agent heard")
    turns = max(1, len(report.exchanges))
    height = 1.1 + turns * (PANEL_INCHES + LANE_INCHES * len(lanes))
    figure = Figure(figsize=(11, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(turns, 1, sharex=True, squeeze=False)[:, 0]
    for panel in panels:
        _prepare(panel, lanes)
    for panel, exchange in zip(panels, report.exchanges, strict=False):
        _draw_turn(panel, lanes, exchange, stamps.get(exchange.number, {}))
    longest_s = max((exchange.onset_s or 0.0 for exchange in report.exchanges), default=0.0)
    panels[0].set_xlim(-BEFORE_S * 1000, max(SHORTEST_S, longest_s + AFTER_S) * 1000)
    panels[-1].set_xlabel(
        "milliseconds after the last sound of the caller" + (", pale: until a stage's first result" if stamps else "")
    )
    figure.suptitle(_title(report), x=0.01, ha="left", fontsize=12, color=INK, weight="bold")
    figure.savefig(path)


def _title(report: CallReport) -> str:
    onset = report.onset_s
    figures = f"answers p50 {onset.p50 * 1000:.0f} ms, p90 {onset.p90 * 1000:.0f} ms" if onset else "no answers"
    return f"{report.script}: {figures}, measured at the caller's ear"


def _prepare(panel: Axes, lanes: Sequence[str]) -> None:
    panel.set_ylim(len(lanes) - 0.4, -0.6)
    panel.set_yticks(range(len(lanes)), lanes, fontsize=8)
    panel.tick_params(length=0, colors=INK, labelsize=8)
    panel.grid(axis="x", color=FAINT, linewidth=0.8)
    panel.set_axisbelow(True)
    for side in panel.spines.values():
        side.set_visible(False)
    panel.axvline(0, color=INK, linewidth=0.8)


def _draw_turn(panel: Axes, lanes: Sequence[str], exchange: Exchange, stamps: Stamps) -> None:
    zero = exchange.until_s
    panel.set_title(_turn_title(exchange), loc="left", fontsize=9, color=INK)
    _bar(panel, lanes.index("caller"), exchange.from_s - zero, 0.0, CALLER)
    for stage in (stage for stage in STAGES if stage.lane in lanes):
        _draw_stage(panel, lanes.index(stage.lane), stage, {name: at - zero for name, at in stamps.items()})
    lane = lanes.index("agent heard")
    if exchange.onset_s is None or exchange.answered_until_s is None:
        panel.text(20, lane, "not answered", va="center", fontsize=8, color=CALLER)
    else:
        _bar(panel, lane, exchange.onset_s, exchange.answered_until_s - zero, AGENT)
        panel.axvline(exchange.onset_s * 1000, color=AGENT, linewidth=1.2, linestyle=(0, (4, 2)))
        label = f"{exchange.onset_s * 1000:.0f} ms "
        panel.text(
            exchange.onset_s * 1000, lane, label, ha="right", va="center", fontsize=9, color=AGENT, weight="bold"
        )


def _draw_stage(panel: Axes, lane: int, stage: Stage, stamps: Stamps) -> None:
    """Both parts of the bar, as far as the turn has the stamps for them; a cut turn ends where its stamps end."""
    start, first, end = (stamps.get(name) for name in (stage.start, stage.first, stage.end))
    if start is not None:
        _bar(panel, lane, start, first if first is not None else end, stage.pale)
    if first is not None:
        _bar(panel, lane, first, end, stage.strong)


def _bar(panel: Axes, lane: int, start_s: float, end_s: float | None, colour: str) -> None:
    """At least a hair wide, so that a stage of no time is seen."""
    width_s = max(0.003, (end_s if end_s is not None else start_s) - start_s)
    panel.barh(lane, width_s * 1000, left=start_s * 1000, height=BAR, color=colour)


def _turn_title(exchange: Exchange) -> str:
    barge_in = f"   (barge-in: the agent stopped after {exchange.stop_s * 1000:.0f} ms)" if exchange.stop_s else ""
    return f"{exchange.number}  “{exchange.text}”{barge_in}"
