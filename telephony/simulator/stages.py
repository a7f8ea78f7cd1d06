"""The bridge's own stamps of each turn, set beside what the ear measured. Pure."""

import math
from collections.abc import Mapping, Sequence

from telephony.simulator.bridge import BridgeEvent, clock_offset_s
from telephony.simulator.measure import Exchange

Stamps = Mapping[str, float]
"""Seconds of the call, on the caller's time, by the name of the stamp; stamps that the turn lacks are missing."""

_ANCHORS = ("asr_complete", "llm_started", "tts_first_chunk")


def stamps_by_exchange(events: Sequence[BridgeEvent], exchanges: Sequence[Exchange]) -> dict[int, Stamps]:
    """The stamps of each exchange, by its number: of the first turn of the bridge within it that made a sound.

    Between two utterances there may be several turns (an early reply that was discarded, a re-prompt).
    """
    offset_s = clock_offset_s(events)
    turns = [stamps for event in events if event.kind == "turn_measured" and (stamps := _stamps(event, offset_s))]
    found: dict[int, Stamps] = {}
    for index, exchange in enumerate(exchanges):
        until_s = exchanges[index + 1].from_s if index + 1 < len(exchanges) else math.inf
        answering = [stamps for stamps in turns if exchange.from_s <= _anchor_s(stamps) < until_s]
        sounding = [stamps for stamps in answering if "tts_first_chunk" in stamps]
        if answering:
            found[exchange.number] = (sounding or answering)[0]
    return found


def _stamps(event: BridgeEvent, offset_s: float) -> Stamps:
    stamps = event.fields.get("stamps")
    if not isinstance(stamps, Mapping):
        return {}
    return {str(name): at + offset_s for name, at in stamps.items() if isinstance(at, int | float)}


def _anchor_s(stamps: Stamps) -> float:
    return next((stamps[name] for name in _ANCHORS if name in stamps), -math.inf)
