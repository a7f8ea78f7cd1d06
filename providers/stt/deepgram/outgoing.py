"""The audio of one connection that waits to be sent, and where in the call that stands which was sent already."""

from collections import deque


class Outgoing:
    """A bounded buffer; beyond `most_bytes` the oldest is dropped. Positions count bytes of the call, those that were
    dropped included; silence of our own is sent without being counted."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._audio = bytearray()
        self._dropped = 0  # since `take_lost`
        self._seams: deque[tuple[int, int]] = deque([(0, 0)])
        """From so many bytes of the connection on, the call is so far ahead of it (or, with silence sent, behind)."""
        self.position = 0
        """Where the next byte to send stands."""
        self.sent = 0
        """Bytes that were taken, silence included."""

    @property
    def waiting(self) -> int:
        return len(self._audio)

    @property
    def end(self) -> int:
        """Where the next byte to come will stand."""
        return self.position + len(self._audio)

    def add(self, audio: bytes) -> None:
        """Take audio; see the class for what happens when there is too much of it."""
        self._audio += audio
        excess = len(self._audio) - self._most_bytes
        if excess > 0:
            del self._audio[:excess]
            self.position += excess
            self._dropped += excess
            self._seam()

    def take(self, most: int) -> bytes:
        """The next bytes to send, from here on counted as sent."""
        chunk = bytes(self._audio[:most])
        del self._audio[:most]
        self.position += len(chunk)
        self.sent += len(chunk)
        return chunk

    def slip_in(self, count: int) -> None:
        """So many bytes are sent that are none of the call's."""
        self._seam()
        last = self._seams[-1]
        if last[0] == self.sent and len(self._seams) > 1 and sum(self._seams[-2]) == sum(last):
            self._seams.pop()  # silence behind silence
        self.sent += count
        self._seam()

    def position_of(self, sent: int) -> int:
        """Where in the call the first so many bytes of the connection end. What lies behind an earlier answer's place
        must not be asked for any more."""
        sent = min(sent, self.sent)
        while len(self._seams) > 1 and self._seams[1][0] <= sent:
            self._seams.popleft()
        begin, ahead = self._seams[0]
        position = max(begin, sent) + ahead
        if len(self._seams) > 1:  # of slipped-in silence no byte is the call's
            following, ahead = self._seams[1]
            position = min(position, following + ahead)
        return position

    def take_lost(self) -> int:
        """Bytes that were dropped since this was last asked."""
        lost, self._dropped = self._dropped, 0
        return lost

    def _seam(self) -> None:
        ahead = self.position - self.sent
        if self._seams[-1][0] == self.sent:
            self._seams.pop()
        if not self._seams or self._seams[-1][1] != ahead:
            self._seams.append((self.sent, ahead))


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
