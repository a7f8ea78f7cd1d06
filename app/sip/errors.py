"""Why a call is not placed. Each has a `reason`, a metric label, and says what to do."""


class DialRefused(Exception):
    """A call that was not placed."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class NotAllowed(DialRefused):
    """The destination or the trunk is not one that may be used (whoever asks is wrong)."""


class NotNow(DialRefused):
    """Too many calls, a trunk that is down, or a process that is going down (nobody's fault): try again later."""
