"""How far a reply is, for the journal: what its text is by now, and how much of it was heard."""

from app.calls.journal import ReplyHeard
from app.conversation.reply import Then
from app.conversation.turn import Turn

_NOTHING = (0, 0, False, 0, False, Then.LISTEN)


class Progress:
    """Remembers what was reported last, so that each report says only what is new."""

    def __init__(self) -> None:
        self._turn = 0
        self._said = ""
        self._reported: tuple[object, ...] = _NOTHING

    def report(self, turn: Turn, heard_ms: int, words: int, held: bool, at: float) -> ReplyHeard | None:
        """The news of this reply; None: there is none."""
        if turn.number != self._turn:
            self._turn, self._said, self._reported = turn.number, "", _NOTHING
        said, complete = turn.said, not turn.generating
        reported = (heard_ms, words, held, len(said), complete, turn.then)
        if reported == self._reported:
            return None
        self._reported = reported
        known, news = None, ""
        if said != self._said:
            before = self._said.rstrip()
            known = len(before) if said.startswith(before) else 0
            self._said, news = said, said[known:]
        return ReplyHeard(
            at, turn.number, heard_ms, words, held, known, news, complete, turn.then.value, turn.then_reason
        )
