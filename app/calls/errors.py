"""What goes wrong between a carrier's request and a session."""


class CallError(Exception):
    """Base; never raised itself."""


class TokenRejected(CallError):
    """A stream token that is unknown, used, expired, or for another call. The peer's fault: close the socket."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
