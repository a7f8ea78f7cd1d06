"""The audio of one call that no final transcript covers yet: what waits to be sent, what may have to be sent again."""


class Backlog:
    """A bounded buffer of audio with a mark between sent and unsent. Positions count bytes of the whole call.

    Beyond `keep_bytes` the oldest goes: of what was sent first (lost only if the connection is, too), then of what
    was not (lost for good).
    """

    def __init__(self, keep_bytes: int) -> None:
        self._keep_bytes = keep_bytes
        self._audio = bytearray()
        self._sent = 0  # bytes of `_audio` that were sent on the present connection
        self._forgotten = 0  # bytes sent before those, not settled, and not kept
        self._lost = 0
        self.position = 0
        """Where the next byte to send stands."""
        self.connection_bytes = 0
        """Sent on the present connection."""

    @property
    def unsent(self) -> int:
        return len(self._audio) - self._sent

    @property
    def end(self) -> int:
        """Where the next byte to come will stand."""
        return self.position + self.unsent

    def add(self, audio: bytes) -> None:
        """Take audio; see the class for what happens when there is too much of it."""
        self._audio += audio
        excess = len(self._audio) - self._keep_bytes
        if excess <= 0:
            return
        del self._audio[:excess]
        forgotten = min(excess, self._sent)
        self._sent -= forgotten
        self._forgotten += forgotten
        self._lost += excess - forgotten
        self.position += excess - forgotten

    def take(self, most: int) -> bytes:
        """The next bytes to send, from here on counted as sent."""
        chunk = bytes(self._audio[self._sent : self._sent + most])
        self._sent += len(chunk)
        self.position += len(chunk)
        self.connection_bytes += len(chunk)
        return chunk

    def settle(self, connection_bytes: int) -> None:
        """The first so many bytes of this connection are recognised: they will not be needed again."""
        begin = self.connection_bytes - self._sent
        if connection_bytes < begin:
            self._forgotten = min(self._forgotten, begin - connection_bytes)
            return
        settled = min(connection_bytes - begin, self._sent)
        del self._audio[:settled]
        self._sent -= settled
        self._forgotten = 0

    def rewind(self) -> int:
        """A new connection: all that is kept is unsent again. Answers how many bytes are not there any more."""
        forgotten, self._forgotten = self._forgotten, 0
        self.position -= self._sent
        self._sent = self.connection_bytes = 0
        return forgotten

    def take_lost(self) -> int:
        """Bytes that went unsent since this was last asked."""
        lost, self._lost = self._lost, 0
        return lost


class Pace:
    """The vendor wants a backlog no faster than 1.25 times real time; short ones go at once."""

    _SPEED = 1.25
    _BURST_S = 2.0

    def __init__(self) -> None:
        self._caught_up_at = 0.0

    def due(self) -> float:
        """When the next audio may go."""
        return self._caught_up_at - self._BURST_S

    def sent(self, audio_s: float, now: float) -> None:
        """So much audio went."""
        self._caught_up_at = max(self._caught_up_at, now) + audio_s / self._SPEED
