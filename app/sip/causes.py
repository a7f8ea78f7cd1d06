"""Why calls end, in three languages: SIP's status, ISDN's cause (Q.850) and our journal's words."""

from types import MappingProxyType

from telephony.sip.events import Cause

NORMAL = 16

_OF_STATUS = MappingProxyType(
    {
        401: (21, "not authorised"),
        403: (21, "rejected"),
        404: (1, "unknown number"),
        407: (21, "not authorised"),
        408: (19, "no answer"),
        410: (22, "number changed"),
        480: (18, "no answer"),
        484: (28, "unknown number"),
        486: (17, "busy"),
        487: (NORMAL, "cancelled"),
        488: (65, "no common codec or encryption"),
        503: (41, "unavailable"),
        600: (17, "busy"),
        603: (21, "rejected"),
        604: (1, "unknown number"),
        606: (65, "no common codec or encryption"),
        607: (21, "rejected"),
        608: (21, "rejected"),
    }
)
"""A final answer's cause (after RFC 3398, section 8.2.6.1) and what it means to whoever called."""

_OF_CAUSE = MappingProxyType({1: "unknown number", 17: "busy", 18: "no answer", 19: "no answer", 21: "rejected"})

_OF_REASON = MappingProxyType(
    {
        "no answer": Cause(q850=19, text="no answer"),
        "providers failed": Cause(q850=41, text="temporary failure"),
        "recognition failed": Cause(q850=41, text="temporary failure"),
        "crashed": Cause(q850=41, text="temporary failure"),
        "no media": Cause(q850=41, text="no media"),
        "media lost": Cause(q850=41, text="media lost"),
        "the bridge stops": Cause(q850=41, text="out of service"),
    }
)

MANY = Cause(503, 42, "too many calls")
FULL = Cause(503, 34, "all lines are busy")
DRAINING = Cause(503, 41, "out of service")
UNKNOWN_NUMBER = Cause(404, 1, "unknown number")


def ours(reason: str) -> Cause:
    """What the far end is told when we end a call for this `CallEnded.reason`."""
    return _OF_REASON.get(reason, Cause(q850=NORMAL, text="normal clearing"))


def q850(cause: Cause) -> int | None:
    """ISDN's word: as it was said, else what the SIP status stands for; None if neither tells."""
    if cause.q850 is not None:
        return cause.q850
    if cause.status == 0:
        return NORMAL
    known = _OF_STATUS.get(cause.status)
    return known[0] if known else (41 if cause.status >= 500 else None)


def of_status(status: int) -> str:
    """What a final answer means to whoever called; empty if it is none that we know."""
    known = _OF_STATUS.get(status)
    return known[1] if known else ""


def words(cause: Cause) -> str:
    """The journal's word for how the far end ended a call."""
    if cause.status == 0:
        return "completed" if cause.q850 in (None, NORMAL) else _OF_CAUSE.get(cause.q850, f"cause {cause.q850}")
    return (
        of_status(cause.status)
        or _OF_CAUSE.get(cause.q850 or 0)
        or ("unavailable" if cause.status >= 500 else f"refused, {cause.status}")
    )
