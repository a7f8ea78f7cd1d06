"""A call told line by line, for people: who did what, when."""

from collections.abc import Iterable, Iterator

from app.calls.archive import CallCard
from app.calls.journal import (
    AnomalyHeard,
    AudioLost,
    CallAnswered,
    CallEnded,
    CallerSaid,
    CallTakenOver,
    JournalEvent,
    JournalGap,
    LegAttached,
    LegDetached,
    ProviderFailed,
    ReplyEnded,
    ToolCalled,
    ToolReturned,
    TransferRequested,
    TurnMeasured,
    UnknownEvent,
)

_COLUMNS = "{:19}  {:>8}  {:16}  {:16}  {:34}  {}"


def listing(cards: Iterable[CallCard]) -> Iterator[str]:
    """A list of calls, one line each, under a heading."""
    yield _COLUMNS.format("answered", "lasted", "caller", "called", "call", "ended because")
    for card in cards:
        lasted = _clock(card.duration_s) if card.ended else "live"
        when = card.answered_at[:19].replace("T", " ")
        yield _COLUMNS.format(when, lasted, card.caller, card.called, card.call_id, card.end_reason).rstrip()


def timeline(events: Iterable[JournalEvent]) -> Iterator[str]:
    """What happened in a call, one line for each thing that matters to its parties."""
    for event in events:
        told = _told(event)
        if told is not None:
            who, what = told
            yield f"{_clock(event.at):>8}  {who:7} {what}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60.0)
    return f"{int(minutes)}:{rest:04.1f}"


def _told(event: JournalEvent) -> tuple[str, str] | None:
    """Who did it, and what it was; None: nothing to tell."""
    match event:
        case CallerSaid(text=text, digits=digits):
            return "caller", f"keys {text}" if digits else text or "(not understood)"
        case ReplyEnded():
            return "agent", _reply(event)
        case ToolCalled(name=name, arguments=arguments):
            return "tool", f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
        case ToolReturned(content=content, failed=failed):
            return "tool", f"{'failed: ' if failed else '= '}{content}"
        case TurnMeasured(onset_s=onset_s, breaches=breaches):
            words = [f"answered within {onset_s:.2f} s"] if onset_s is not None else []
            return ("", "; ".join(words + breaches)) if words or breaches else None
        case _:
            return _of_the_call(event)


def _of_the_call(event: JournalEvent) -> tuple[str, str] | None:
    match event:
        case CallAnswered():
            return "call", f"{event.caller or 'somebody'} calls {event.called} by {event.carrier}, {event.answered_at}"
        case CallTakenOver(owner=owner, fence=fence, reason=reason):
            return "call", f"carried on by {owner}, its owner number {fence}: {reason}"
        case LegAttached(stream_id=stream_id):
            return "line", f"connected ({stream_id})"
        case LegDetached(reason=reason):
            return "line", f"lost while {reason}"
        case TransferRequested(reason=reason):
            return "call", f"is handed over: {reason}"
        case CallEnded(reason=reason):
            return "call", f"ended: {reason}"
        case _:
            return _of_trouble(event)


def _of_trouble(event: JournalEvent) -> tuple[str, str] | None:
    match event:
        case JournalGap(lost=lost, since=since, reason=reason):
            return "!", f"{lost} events since {_clock(since)} are not known: {reason}"
        case ProviderFailed(provider=provider, error=error, detail=detail):
            return "!", f"{provider}: {error}: {detail}"
        case AudioLost(lost_ms=lost_ms, reason=reason):
            return "!", f"{lost_ms:.0f} ms of the caller were not recognised: {reason}"
        case AnomalyHeard(anomaly=anomaly, facts=facts):
            return "!", f"{anomaly}: {', '.join(f'{key} {value}' for key, value in facts.items())}"
        case UnknownEvent(fields=fields):
            return "?", f"{fields.get('kind')} (of a later version)"
        case _:
            return None


def _reply(event: ReplyEnded) -> str:
    if event.heard == event.said:
        return event.said or f"(nothing: {event.reason})"
    unheard = event.said[len(event.heard) :].strip() if event.said.startswith(event.heard) else event.said
    return f"{event.heard} … [{event.reason}, unheard: {unheard}]".strip()
