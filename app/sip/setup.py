"""The real SIP endpoint, and what a process needs for it before it starts."""

from contextlib import AbstractAsyncContextManager

from app.settings import SettingsError
from app.sip.calls import EndpointFactory
from telephony.clock import Clock
from telephony.sip.contracts import EndpointObserver, SipEndpoint
from telephony.sip.endpoint import Endpoint, check_descriptors, load_library
from telephony.sip.errors import SipUnavailable, TooFewDescriptors
from telephony.sip.settings import EndpointSettings


def pjsua_endpoint(settings: EndpointSettings, clock: Clock) -> EndpointFactory:
    """Makes the endpoint, over pjsua2. Raises `SettingsError` where it is not installed, or so many calls cannot be."""
    try:
        load_library()
        check_descriptors(settings.max_calls)
    except SipUnavailable as missing:
        raise SettingsError(f"SIP_SERVER: SIP is set, but {missing}") from missing
    except TooFewDescriptors as few:
        raise SettingsError(f"MAX_CALLS: {few}") from few

    def make(settings: EndpointSettings, observer: EndpointObserver) -> AbstractAsyncContextManager[SipEndpoint]:
        return Endpoint(settings, observer, clock)

    return make
