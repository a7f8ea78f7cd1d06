"""Settings of SIP: the trunks, the process's one endpoint, and what calls over them may do.

One trunk takes `SIP_SERVER`, `SIP_USER`, `SIP_PASSWORD` and what else it needs. Several are named by
`SIP_TRUNKS=office,carrier`; then `SIP_OFFICE_SERVER` is that trunk's own, and a plain `SIP_TRANSPORT` holds for all
that have none of their own. A variable that no trunk and no setting is named after is refused: a typing error in what
keeps strangers out must not let them in.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Self, TypeVar

import pydantic
from pydantic import BeforeValidator, Field, SecretStr

from app.conversation.manners import Manners
from app.settings import SettingsError, in_words
from app.sip.numbers import Destinations, Numbers
from telephony.sip.settings import (
    ALL_CODECS,
    Codec,
    EndpointSettings,
    SessionTimers,
    SettingRejected,
    Srtp,
    Tls,
    Transport,
    Trunk,
)

ONLY = "sip"
"""Name of the trunk where there is only one."""
_SWITCH_ON = {"SIP_SERVER", "SIP_TRUNKS", "SIP_USER", "SIP_PASSWORD"}
"""Whoever sets one of these wants a trunk."""
COMPILED_IN = 1000
"""Calls that the SIP library takes at most."""

Model = TypeVar("Model", bound=pydantic.BaseModel)

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def _listed(value: object) -> object:
    """Several values in one variable, separated by commas."""
    return tuple(filter(None, (item.strip() for item in value.split(",")))) if isinstance(value, str) else value


def _port_range(value: object) -> object:
    """`10000-20000`."""
    return tuple(part.strip() for part in value.split("-")) if isinstance(value, str) else value


def _codecs(value: object) -> object:
    """Codecs are known by many spellings: `G.722`, `g722`, `OPUS`."""
    names = {codec.value.lower(): codec for codec in Codec}
    return tuple(names.get(name.lower().replace(".", ""), name) for name in _listed(value) or ())  # type: ignore[attr-defined]


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class TrunkVariables(pydantic.BaseModel, frozen=True):
    """One trunk as it is set; a field's name in capitals ends its variable."""

    server: str = ""
    """Registrar or peer, `host` or `host:port`."""
    user: str = ""
    password: SecretStr = SecretStr("")
    transport: Transport = Transport.UDP
    register_: Annotated[bool | None, Field(alias="register")] = None
    """Keep registered; unset: where there is a password."""
    auth_user: str = ""
    realm: str = "*"
    domain: str = ""
    proxy: str = ""
    expires_s: Annotated[int, Field(ge=20, le=86_400)] = 300
    sources: Names = ()
    """Addresses and networks that calls may come from, besides the server's."""
    codecs: Annotated[tuple[Codec, ...], BeforeValidator(_codecs), Field(min_length=1)] = ALL_CODECS
    srtp: Srtp = Srtp.OFF
    timers: SessionTimers = SessionTimers.ACCEPTED
    session_expires_s: Annotated[int, Field(ge=90, le=86_400)] = 1800
    options_s: Annotated[float, Field(ge=0, le=3_600)] = 30.0
    caller: str = ""
    """Number shown when we call."""
    numbers: Names = ()
    """Numbers that may be called here; none: all that the trunk brings."""
    destinations: Names = ()
    """What may be called from here, and where calls may be handed over to; none: nothing."""
    dials_per_s: Annotated[float, Field(gt=0, le=1_000)] = 1.0


class EndpointVariables(pydantic.BaseModel, frozen=True):
    """What all trunks share; a field's name in capitals follows `SIP_`."""

    trunks: Names = ()
    bind: str = "0.0.0.0"
    port: Annotated[int, Field(ge=0, le=65_535)] = 5060
    tls_port: Annotated[int, Field(ge=0, le=65_535)] = 5061
    listen: Annotated[tuple[Transport, ...], BeforeValidator(_listed)] = ()
    rtp_ports: Annotated[tuple[int, int], BeforeValidator(_port_range)] = (10_000, 20_000)
    public_address: str = ""
    stun_server: str = ""
    nameservers: Names = ()
    certificate: str = ""
    private_key: str = ""
    authorities: str = ""
    verify_servers: bool = True
    require_client_certificate: bool = False
    announcement: str = ""
    """Said before an inbound call is answered, as early media."""
    calls_per_s: Annotated[float, Field(gt=0, le=1_000)] = 10.0
    calls_per_source: Annotated[int, Field(ge=0, le=COMPILED_IN)] = 0
    attended_transfer: bool = False
    """Call whoever is to take over first; meanwhile the caller hears it ring, and any key brings him back."""
    transfer_s: Seconds = 30.0
    ring_s: Seconds = 60.0
    hold_s: Seconds = 1800.0
    call_back: bool = False
    """Call whoever was on a call whose process died, without waiting for him to dial again."""
    return_s: Annotated[float, Field(ge=0, le=86_400)] = 120.0
    """A call whose process died waits so long for its caller to dial again; 0: it does not."""


@dataclass(frozen=True, slots=True)
class TrunkPolicy:
    """What calls over one trunk may do."""

    numbers: Numbers
    destinations: Destinations
    dials_per_s: float


@dataclass(frozen=True, slots=True)
class SipSettings:
    """SIP as it is set: the endpoint's part, and ours."""

    endpoint: EndpointSettings
    policies: Mapping[str, TrunkPolicy]
    variables: EndpointVariables
    has_siblings: bool = False
    """Other processes have ports beside ours, and one that we replace may have ours for a while yet."""

    def share(self, number: int, of: int) -> Self:
        """What the worker with this `number` (from 0) gets: ports of its own, two apart, and its part of those for RTP.

        Raises `SettingsError` when they are not enough for all.
        """
        if of < 2:
            return self
        own = self.endpoint
        first, last = own.rtp_ports
        size = (last - first + 1) // of // 2 * 2
        begin = first + number * size
        try:
            endpoint = replace(
                own,
                port=own.port + 2 * number if own.port else 0,
                tls_port=own.tls_port + 2 * number if own.tls_port else 0,
                rtp_ports=(begin, begin + size - 1),
            )
        except SettingRejected as rejected:
            raise SettingsError(f"SIP_RTP_PORTS: with {of} workers, {_problem(rejected)} for each") from None
        return replace(self, endpoint=endpoint, has_siblings=True)

    @classmethod
    def load(cls, environment: Mapping[str, str], max_calls: int, worker: tuple[int, int] = (0, 1)) -> Self | None:
        """Read the variables that begin with `SIP_`; None: no trunk is named. Raises `SettingsError`, naming them.

        `worker`: which of how many processes this is, see `share`.
        """
        given = {name: value for name, value in environment.items() if name.startswith("SIP_") and value}
        if not given.keys() & _SWITCH_ON:
            return None
        shared = _model(
            EndpointVariables, {field: f"SIP_{field.upper()}" for field in _fields(EndpointVariables)}, given
        )
        names = tuple(name.lower() for name in shared.trunks) or (ONLY,)
        _check_names(names, alone=not shared.trunks)
        own = {name: _variables_of(name, given, alone=not shared.trunks) for name in names}
        _refuse_unknown(given, names if shared.trunks else ())
        trunks = {name: _model(TrunkVariables, own[name], given) for name in names}
        try:
            endpoint = EndpointSettings(
                trunks=tuple(_trunk(name, trunks[name], own[name], stun=bool(shared.stun_server)) for name in names),
                bind_address=shared.bind,
                port=shared.port,
                tls_port=shared.tls_port,
                listen=shared.listen,
                tls=Tls(
                    shared.certificate,
                    shared.private_key,
                    shared.authorities,
                    shared.verify_servers,
                    shared.require_client_certificate,
                ),
                rtp_ports=shared.rtp_ports,
                public_address=shared.public_address,
                stun_server=shared.stun_server,
                nameservers=shared.nameservers,
                max_calls=min(max_calls, COMPILED_IN),
            )
        except SettingRejected as rejected:
            field = _OTHERWISE_CALLED.get(rejected.setting, rejected.setting)
            raise SettingsError(f"SIP_{field.upper()}: {_problem(rejected)}") from None
        policies = {name: _policy(trunks[name], own[name]) for name in names}
        return cls(endpoint, policies, shared).share(*worker)

    def manners(self, manners: Manners) -> Manners:
        """The same manners, with what SIP adds to them."""
        own = self.variables
        return replace(
            manners,
            announcement=own.announcement,
            ring_s=own.ring_s,
            hold_s=own.hold_s,
            transfer_s=own.transfer_s,
        )


_OTHERWISE_CALLED = {"tls": "certificate", "trunk": "server", "addresses": "sources", "max_calls": "rtp_ports"}
"""Settings of the endpoint that are set by a variable of another name."""


_CURES = {"require_client_certificate": "; set SIP_AUTHORITIES to a file with your peers' own, not the system's"}
"""What to do about a setting, where that is to set another one."""


def _problem(rejected: SettingRejected) -> str:
    return str(rejected).removeprefix(f"{rejected.setting}: ") + _CURES.get(rejected.setting, "")


def _fields(model: type[pydantic.BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _check_names(names: tuple[str, ...], *, alone: bool) -> None:
    """Refuse names of trunks by which a variable would mean two things."""
    taken = {field.upper() for field in (*_fields(TrunkVariables), *_fields(EndpointVariables))}
    for name in names:
        if not _NAME.fullmatch(name):
            raise SettingsError(f"SIP_TRUNKS: {name!r} cannot stand in a variable's name: letters, digits and _")
        doubtful = {f"{name}_{field}".upper() for field in _fields(TrunkVariables)} & taken
        if doubtful and not alone:
            raise SettingsError(f"SIP_TRUNKS: call {name!r} otherwise, for SIP_{min(doubtful)} would mean two things")
    if len(set(names)) != len(names):
        raise SettingsError("SIP_TRUNKS: a trunk is named twice")


def _variables_of(name: str, given: Mapping[str, str], *, alone: bool) -> dict[str, str]:
    """Which variable sets which field of a trunk: its own where there is one, else the one for all."""
    variables = {}
    for field in _fields(TrunkVariables):
        own, common = f"SIP_{name}_{field}".upper(), f"SIP_{field}".upper()
        variables[field] = common if alone or (own not in given and common in given) else own
    return variables


def _refuse_unknown(given: Mapping[str, str], names: tuple[str, ...]) -> None:
    known = {f"SIP_{field}".upper() for field in (*_fields(EndpointVariables), *_fields(TrunkVariables))}
    known |= {f"SIP_{name}_{field}".upper() for name in names for field in _fields(TrunkVariables)}
    wrong = []
    for variable in sorted(given.keys() - known):
        near = difflib.get_close_matches(variable, known, 1)
        wrong.append(f"{variable}: there is no such setting" + (f"; is {near[0]} meant?" if near else ""))
    if wrong:
        raise SettingsError("\n".join(wrong))


def _model(kind: type[Model], variables: Mapping[str, str], given: Mapping[str, str]) -> Model:
    """Typed values of these variables. Raises `SettingsError`."""
    try:
        return kind.model_validate({field: given[name] for field, name in variables.items() if name in given})
    except pydantic.ValidationError as error:
        wrong = (f"{variables[str(item['loc'][0])]}: {in_words(item)}" for item in error.errors(include_input=False))
        raise SettingsError("\n".join(wrong)) from None


def _trunk(name: str, set_: TrunkVariables, variables: Mapping[str, str], *, stun: bool) -> Trunk:
    """The trunk as the endpoint takes it. Raises `SettingsError`."""
    if not set_.server:
        raise SettingsError(f"{variables['server']}: set it to the trunk's registrar or peer, like sip.example.net")
    password = set_.password.get_secret_value()
    try:
        return Trunk(
            name=name,
            server=set_.server,
            user=set_.user,
            password=password,
            transport=set_.transport,
            register=bool(password) if set_.register_ is None else set_.register_,
            realm=set_.realm,
            auth_user=set_.auth_user,
            domain=set_.domain,
            proxy=set_.proxy,
            expires_s=set_.expires_s,
            addresses=set_.sources,
            numbers=set_.numbers,
            codecs=set_.codecs,
            srtp=set_.srtp,
            caller=set_.caller,
            session_timers=set_.timers,
            session_expires_s=set_.session_expires_s,
            options_every_s=set_.options_s,
            stun=stun,
        )
    except SettingRejected as rejected:
        field = _OTHERWISE_CALLED.get(rejected.setting, rejected.setting)
        raise SettingsError(f"{variables.get(field, variables['server'])}: {_problem(rejected)}") from None


def _policy(set_: TrunkVariables, variables: Mapping[str, str]) -> TrunkPolicy:
    field = "numbers"
    try:
        numbers = Numbers(set_.numbers)
        field = "destinations"
        destinations = Destinations(set_.destinations)
    except ValueError as error:
        raise SettingsError(f"{variables[field]}: {error}") from None
    return TrunkPolicy(numbers, destinations, set_.dials_per_s)


def variables() -> Iterator[str]:
    """Every variable, as it is called where there is one trunk."""
    for field in (*_fields(EndpointVariables), *_fields(TrunkVariables)):
        yield f"SIP_{field}".upper()
