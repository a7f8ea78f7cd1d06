"""What goes wrong below the conversation, and whose fault it is.

TelephonyError
├── OurFault             a bug or a bad setting here: raise, fix
│   ├── PartialSample    a byte count that is no whole number of samples
│   └── ControlRefused   the carrier does not let us control the call: our credentials or setting
├── PeerFault            the other side broke its protocol: count, ignore the message, keep the call
│   ├── MalformedMessage     not a message of the carrier's protocol
│   ├── SignatureRejected    a request that the carrier did not sign
│   └── StreamUnusable       so broken that only closing the stream helps
└── NetworkFault         nobody's fault: detach, keep the session, wait for the next leg
    ├── LegClosed        the media path is gone
    ├── CallGone         the carrier has no such call any more
    └── ControlUnreachable   the carrier's control API gives no answer: try again
"""


class TelephonyError(Exception):
    """Base of everything raised by `telephony`; never raised itself."""


class OurFault(TelephonyError):
    """A bug or a bad setting on this side."""


class PartialSample(OurFault, ValueError):
    """`byte_count` bytes are no whole number of samples of `sample_bytes`."""

    def __init__(self, byte_count: int, sample_bytes: int) -> None:
        super().__init__(f"{byte_count} bytes are no whole number of {sample_bytes}-byte samples")
        self.byte_count = byte_count
        self.sample_bytes = sample_bytes


class MissingExtra(OurFault):
    """An optional part was asked for and cannot be had: a package or a file is missing. The text says what to do."""


class ControlRefused(OurFault):
    """The carrier refuses to do something with a call, whoever asks again: look at the credentials and the address."""


class PeerFault(TelephonyError):
    """The carrier, or somebody who claims to be it, broke the protocol."""


class MalformedMessage(PeerFault):
    """A message outside the carrier's protocol. The stream goes on without it; `reason` is a metric label."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class SignatureRejected(PeerFault):
    """A webhook or upgrade whose signature is missing or wrong. Answer 403; `remedy` is for our own log."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


class StreamUnusable(PeerFault):
    """Nothing sensible can come over this stream any more: close it, the session waits for another."""


class NetworkFault(TelephonyError):
    """Nobody's fault."""


class LegClosed(NetworkFault):
    """The media path is gone; what was not sent stays with the pacer."""


class CallGone(NetworkFault):
    """The call is over, as far as the carrier knows."""


class ControlUnreachable(NetworkFault):
    """The carrier's control API is slow, gone or overloaded."""
