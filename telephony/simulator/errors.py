"""What goes wrong on the simulator's side, and whose fault it is.

OurFault
├── ScriptRejected       the script asks for what there is not: names the file and the step
└── SoundRejected        a WAV file that we cannot speak from
PeerFault
└── DocumentRejected     the bridge answered with no TwiML; `code` is Twilio's error
NetworkFault
├── WebhookFailed        no usable HTTP answer, retries included; `code` is Twilio's error
└── HandshakeFailed      no media websocket; `code` is Twilio's error
"""

from telephony.errors import NetworkFault, OurFault, PeerFault


class ScriptRejected(OurFault, ValueError):
    """A script that cannot be performed."""


class SoundRejected(OurFault, ValueError):
    """A sound file that is missing or in a format that the caller cannot speak from."""


class DocumentRejected(PeerFault):
    """An answer that is no TwiML. The call ends: Twilio says 'an application error has occurred'."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class WebhookFailed(NetworkFault):
    """The bridge gave no usable answer in the time and tries that Twilio grants."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class HandshakeFailed(NetworkFault):
    """The media websocket did not come to be; the call goes on with the next verb."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
