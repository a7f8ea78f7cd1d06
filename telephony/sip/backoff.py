"""When to try again: ever later, never all at once."""

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Delays that double from `first_s` to `longest_s`, each shortened by up to a half at random, so that a registrar
    that comes back is not called by everybody in the same second."""

    first_s: float = 1.0
    longest_s: float = 60.0
    chance: random.Random = field(default_factory=random.Random)
    _failures: int = 0

    def failed(self) -> float:
        """It failed once more: wait so many seconds."""
        delay_s = min(self.longest_s, self.first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return delay_s * (1.0 - self.chance.random() / 2)

    def succeeded(self) -> None:
        """Begin anew."""
        self._failures = 0
