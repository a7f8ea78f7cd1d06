"""The pjsua2 library's life in this process: started once, its trunks' accounts, and an end without a crash."""

import logging
from typing import Any

import pjsua2 as pj

from telephony.sip.account import CODEC_IDS, account_config, endpoint_config, transport_config, transport_type
from telephony.sip.errors import EndpointFailed, SipUnavailable
from telephony.sip.message import clean
from telephony.sip.pjsua import CallHandle, LibraryUser, TrunkAccount, explain
from telephony.sip.settings import ALL_CODECS, EndpointSettings, Transport, Trunk
from telephony.sip.ticker import ReadAll

log = logging.getLogger("telephony.sip.library")

_NAMES = {transport.value.upper(): transport for transport in Transport}


class _Log(pj.LogWriter):  # type: ignore[misc]  # pjsua2 has no types
    """What the library has to say, for debugging: it names numbers and addresses, and what matters is signalled."""

    def write(self, entry: Any) -> None:
        log.debug("%s", clean(entry.msg).strip())


class _Endpoint(pj.Endpoint):  # type: ignore[misc]  # pjsua2 has no types
    """The library's one endpoint, and what it asks about the process as a whole."""

    def __init__(self, user: LibraryUser) -> None:
        super().__init__()
        self.user = user
        self.account_ids: dict[str, int] = {}

    def onSelectAccount(self, prm: Any) -> None:
        """Which trunk a request belongs to: its source tells, not what it says about itself. Only between several
        trunks at one source does whom it calls tell."""
        trunk = self.user.trunk_for(str(prm.rdata.srcAddress), prm.rdata.wholeMsg)
        if trunk is not None and trunk in self.account_ids:
            prm.accountIndex = self.account_ids[trunk]

    def onRejectedIncomingCall(self, prm: Any) -> None:
        self.user.refused(str(prm.rdata.srcAddress), prm.statusCode)

    def onTransportState(self, prm: Any) -> None:
        transport = next((known for name, known in _NAMES.items() if prm.type.upper().startswith(name)), None)
        if prm.state == pj.PJSIP_TP_STATE_DISCONNECTED and transport is not None:
            self.user.disconnected(transport)


class Library:
    """Started by `start`, once per process and life; ended by `stop`. Both from the event loop's thread, but for
    `destroy`, which waits and belongs into a thread of its own."""

    def __init__(self, settings: EndpointSettings, user: LibraryUser) -> None:
        if not hasattr(pj, "AudioRing"):
            raise SipUnavailable("the installed pjsua2 has no audio ring")
        self._settings = settings
        self._user = user
        self._endpoint: Any = None
        self.accounts: dict[str, TrunkAccount] = {}

    @property
    def read_all(self) -> ReadAll:
        """All rings at once: what the ticker reads."""
        reader: ReadAll = pj.AudioRing.read_all
        return reader

    def start(self) -> None:
        """Listen. Raises `EndpointFailed` with what the library said; nothing is left behind then."""
        self._endpoint = endpoint = _Endpoint(self._user)
        try:
            self._step("start", endpoint.libCreate)
            config = endpoint_config(self._settings)
            writer = _Log()
            config.logConfig.writer = writer
            writer.__disown__()  # the library deletes it
            self._step("configure", endpoint.libInit, config)
            for transport in self._settings.transports:
                config = transport_config(self._settings, transport)
                step = f"listen on {config.boundAddress}:{config.port} ({transport})"
                self._step(step, endpoint.transportCreate, transport_type(self._settings, transport), config)
            self._step("run", endpoint.libStart)
            self._step("start its media clock", endpoint.audDevManager().setNullDev)
            self._choose_codecs()
            for trunk in self._settings.trunks:
                self._add(trunk)
        except EndpointFailed:
            self.release()
            self.destroy()
            raise

    def _step(self, name: str, function: Any, *arguments: Any) -> None:
        try:
            function(*arguments)
        except pj.Error as failure:
            raise EndpointFailed(name, explain(failure)) from None

    def _choose_codecs(self) -> None:
        wanted = {codec for trunk in self._settings.trunks for codec in trunk.codecs}
        order = [*self._settings.trunks[0].codecs, *ALL_CODECS]
        priorities = {CODEC_IDS[codec]: 250 - order.index(codec) for codec in wanted}
        for codec in self._endpoint.codecEnum2():
            self._endpoint.codecSetPriority(codec.codecId, priorities.get(codec.codecId, 0))

    def _add(self, trunk: Trunk) -> None:
        account = TrunkAccount(self._user, trunk)
        self._step(f"make trunk {trunk.name}", account.create, account_config(self._settings, trunk))
        self.accounts[trunk.name] = account
        self._endpoint.account_ids[trunk.name] = account.getId()

    @property
    def filters(self) -> bool:
        """The library turns strangers away before anything is made for them."""
        return hasattr(pj, "SourceFilter")

    def admit(self, networks: tuple[str, ...]) -> None:
        """Requests may begin from these, or over TLS with a certificate, and from nowhere else."""
        if self.filters:
            pj.SourceFilter.admit(networks, self._settings.tls.require_client_certificate)

    def strangers(self) -> list[tuple[str, int]]:
        """Who was turned away since the last time, and how often."""
        return list(pj.SourceFilter.refused()) if self.filters else []

    def handle(self) -> CallHandle:
        """For a call of ours."""
        return CallHandle(self._user)

    def adopt_thread(self, name: str) -> None:
        """Make the present thread known to the library: every thread that sends commands."""
        if not self._endpoint.libIsThreadRegistered():
            self._endpoint.libRegisterThread(name)

    def hang_up_all(self) -> None:
        """Every call at once. Their ends are signals."""
        self._endpoint.hangupAllCalls()

    def release(self) -> None:
        """Close the accounts; all calls should be gone. Unregisters what is still registered."""
        for account in self.accounts.values():
            try:
                account.shutdown()
            except pj.Error:
                continue

    def destroy(self) -> None:
        """End the library's threads. Takes about a second: for a thread that may wait."""
        self.adopt_thread("sip-end")
        self._endpoint.libDestroy()
        for account in self.accounts.values():  # not before: its threads may have been about to call any of them
            account.living.clear()
        self.accounts.clear()
        self._endpoint = None
