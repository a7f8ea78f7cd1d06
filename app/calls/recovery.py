"""How patient a process is with others, and with carriers."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RecoverySettings:
    """How long is waited for whom."""

    lease_s: float = 4.0
    """A process that does not renew its leases for so long loses its calls. More than a slow store's deadline."""
    recall_s: float = 1.0
    """A carrier that has not asked for a lost call by then is told to."""
    take_over_s: float = 5.0
    """A stream waits so long for its call; then it is closed, and the carrier asks again."""
    grace_s: Mapping[str, float] = field(default_factory=dict)
    """By carrier: how long a call that was taken over waits for its line, where it is not as long as others do."""
