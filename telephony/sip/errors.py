"""What goes wrong with SIP as such. What goes wrong with one call is no exception: it is the call's last event.

TelephonyError
└── OurFault
    ├── SettingRejected              (settings) a setting that cannot be meant
    ├── SipUnavailable               the pjsua2 wheel is not installed, or is not ours
    ├── TooFewDescriptors            the process may not open enough files for its calls
    ├── EndpointFailed               the library refused to start: a port in use, a bad certificate
    ├── CallRefused                  a command that no call can carry out
    └── CommandFailed                the library would not do it: inside this folder only, see `call` and `trunk`
"""

from telephony.errors import OurFault


class SipUnavailable(OurFault):
    """SIP is configured, but pjsua2 is missing or lacks the native ring. The message names the cure."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}: run `make sip` to build and install pjsua2 for this Python")


class TooFewDescriptors(OurFault):
    """So many calls need more open files than the process is allowed."""

    def __init__(self, needed: int, allowed: int, max_calls: int) -> None:
        super().__init__(
            f"{max_calls} SIP calls need {needed} open files, {allowed} are allowed: "
            f"raise the limit (`ulimit -n {needed}`, or LimitNOFILE) or lower the number of calls"
        )
        self.needed = needed
        self.allowed = allowed


class EndpointFailed(OurFault):
    """The SIP library refused what was asked of it at start; `step` says what it was."""

    def __init__(self, step: str, detail: str) -> None:
        super().__init__(f"SIP cannot {step}: {detail}")
        self.step = step


class CallRefused(OurFault, ValueError):
    """A command with something that no SIP message can carry, or for a trunk that does not exist."""


class CommandFailed(OurFault):
    """The library refused a command, mostly because the call has moved on meanwhile. Never leaves this folder."""


class LibraryBusy(CommandFailed):
    """The library could not get at the call in time, because other threads of its own were at work: again later."""
