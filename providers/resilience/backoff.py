"""How long to wait before the same provider is asked again: exponential, with jitter, and never against its wish."""

from random import Random

_FIRST_S = 0.1
_LONGEST_S = 2.0


def pause_s(retry: int, random: Random, retry_after_s: float = 0.0) -> float:
    """Seconds before the `retry`-th retry (from 1). At least `retry_after_s`; beyond it, half is left to chance, so
    that calls which failed together do not come back together."""
    full = min(_LONGEST_S, _FIRST_S * 2.0 ** (retry - 1))
    return retry_after_s + full * (0.5 + 0.5 * random.random())
