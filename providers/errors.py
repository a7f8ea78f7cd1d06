"""What goes wrong with a provider, and what to do about it.

ProviderError
├── ProviderMisconfigured    our setting is missing or wrong: names the variable and the remedy; stop at start
├── ProviderRejected         the vendor refuses our credentials or our request: another provider, no retry
├── ProviderRateLimited      the vendor is full: another provider, retry after `retry_after_s`
├── ProviderUnavailable      network or vendor down: retry, or another provider
├── ProviderTimedOut         a deadline passed: `stage` is connect, first_result or gap
└── ProviderMalformed        the vendor broke its own protocol: another provider
"""


class ProviderError(Exception):
    """Base; `provider` is the registry name, so that logs and metrics say who it was."""

    def __init__(self, provider: str, detail: str) -> None:
        super().__init__(f"{provider}: {detail}")
        self.provider = provider
        self.detail = detail


class ProviderMisconfigured(ProviderError):
    """`variable` (an environment variable) is missing or wrong; `remedy` says what to set. Our user's fault."""

    def __init__(self, provider: str, variable: str, remedy: str) -> None:
        super().__init__(provider, f"{variable}: {remedy}")
        self.variable = variable
        self.remedy = remedy


class ProviderRejected(ProviderError):
    """The vendor said no, and would say no again. `variable` is set where it is our key that he refuses; `of_request`
    where it is this one request, or what he was about to answer to it: other calls he serves."""

    def __init__(self, provider: str, detail: str, variable: str = "", *, of_request: bool = False) -> None:
        super().__init__(provider, detail)
        self.variable = variable
        self.of_request = of_request

    def as_misconfigured(self) -> "ProviderError":
        """What this means before the first call: a refused key is our user's to mend, anything else as it is."""
        if not self.variable:
            return self
        return ProviderMisconfigured(
            self.provider, self.variable, f"the vendor refuses it; set a valid key ({self.detail})"
        )


class ProviderRateLimited(ProviderError):
    """The vendor said not now."""

    def __init__(self, provider: str, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(provider, detail)
        self.retry_after_s = retry_after_s


class ProviderUnavailable(ProviderError):
    """Nobody there, or a connection that broke."""


class ProviderTimedOut(ProviderError):
    """A deadline passed at `stage`: `connect`, `first_result` or `gap`."""

    def __init__(self, provider: str, stage: str, deadline_s: float) -> None:
        super().__init__(provider, f"no {stage} within {deadline_s:g} s")
        self.stage = stage
        self.deadline_s = deadline_s


class ProviderMalformed(ProviderError):
    """The vendor sent what its own protocol does not allow."""
