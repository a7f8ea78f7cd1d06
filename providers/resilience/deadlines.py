"""How long each stage of a stream may take, by kind of provider, as `<KIND>_…_S` variables."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from providers.errors import ProviderMisconfigured


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds. A miss of the first three brings in the next provider while the slow one may still win."""

    connect_s: float
    """Until the vendor has taken the request, where its adapter tells."""
    first_result_s: float
    """Until there is something to hear or to read."""
    gap_s: float
    """Between two results."""
    give_up_s: float
    """Without any result from anybody, retries and all: then the stream fails."""


DEFAULTS = {
    "stt": Deadlines(connect_s=1.0, first_result_s=1.0, gap_s=1.0, give_up_s=5.0),
    "llm": Deadlines(connect_s=0.8, first_result_s=1.2, gap_s=0.8, give_up_s=6.0),
    "tts": Deadlines(connect_s=0.6, first_result_s=0.7, gap_s=0.8, give_up_s=5.0),
}
"""Chosen so that a caller waits at most 1.5 s longer than usual when a vendor stops answering."""


def read(kind: str, environment: Mapping[str, str]) -> Deadlines:
    """The kind's deadlines, as set. Raises `ProviderMisconfigured` naming the variable that is no positive number."""
    deadlines = DEFAULTS[kind]
    for stage in fields(Deadlines):
        variable = f"{kind}_{stage.name}".upper()
        text = environment.get(variable, "")
        try:
            value = float(text) if text else getattr(deadlines, stage.name)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise ProviderMisconfigured(kind, variable, f"{text!r} is no positive number of seconds")
        deadlines = replace(deadlines, **{stage.name: value})
    return deadlines
