"""What the call directory refuses."""


class CallRefused(Exception):
    """No place for one more call (nobody's fault): `reason` is `busy` or `draining`, a metric label."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TokenRejected(Exception):
    """A stream token that is unknown, used, expired or of another call. The peer's fault: close its socket.

    `reason` is a metric label; it must not reach the peer, who could probe with it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
