"""SIP URIs of a trunk, and of whom we call. Sans I/O."""

import re
from collections.abc import Mapping

from telephony.sip.errors import CallRefused
from telephony.sip.settings import Transport, Trunk

_NUMBER = re.compile(r"\+?[0-9*#]{1,32}")
_USER_AT_HOST = re.compile(r"[A-Za-z0-9_.!~*'()&=+$,/-]{1,64}(?:@[A-Za-z0-9.:\[\]-]{1,255})?")
_NO_TEXT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters, and halves of characters."""
_SIP_URI = re.compile(r"sips?:[A-Za-z0-9_.!~*'()&=+$,;?/%@:\[\]-]{1,512}", re.IGNORECASE)


def _parameters(trunk: Trunk) -> str:
    return "" if trunk.transport is Transport.UDP else f";transport={trunk.transport}"


def server_uri(trunk: Trunk) -> str:
    """Where to register."""
    return f"sip:{trunk.server}{_parameters(trunk)}"


def route_uri(trunk: Trunk) -> str:
    """The proxy as a loose route."""
    return f"<sip:{trunk.proxy}{_parameters(trunk)};lr>"


def host_of(server: str) -> str:
    """`host:port` without the port; an IPv6 address without its brackets."""
    if server.startswith("["):
        return server[1:].partition("]")[0]
    return server.rpartition(":")[0] if server.count(":") == 1 else server


def host_in(uri: str) -> str:
    """The host of a SIP URI, without the port."""
    address = uri.partition(":")[2].partition(";")[0].partition("?")[0]
    return host_of(address.rpartition("@")[2])


def trunk_identity(trunk: Trunk) -> str:
    """Who we are on this trunk: our address of record."""
    host = trunk.domain or trunk.server
    return f"<sip:{trunk.user}@{host}>" if trunk.user else f"<sip:{host}>"


def caller_identity(trunk: Trunk, caller: str, display_name: str) -> str:
    """The From of a call; empty for the trunk's own. Raises `CallRefused` for what fits no header."""
    user = caller or trunk.caller
    if not user and not display_name:
        return ""
    user = user or trunk.user
    if not _USER_AT_HOST.fullmatch(user):
        raise CallRefused(f"{user!r} cannot be shown as a caller")
    if _NO_TEXT.search(display_name) or {*display_name} & {*'"\\'}:
        raise CallRefused("a display name without quotes and control characters, please")
    address = user if "@" in user else f"{user}@{trunk.domain or trunk.server}"
    return f'"{display_name}" <sip:{address}>' if display_name else f"<sip:{address}>"


def target_uri(trunk: Trunk, target: str) -> str:
    """Whom to call, from a number, `user@host` or a SIP URI. Raises `CallRefused` for anything else."""
    if _SIP_URI.fullmatch(target):
        return target
    if not (_NUMBER.fullmatch(target) or _USER_AT_HOST.fullmatch(target)):
        raise CallRefused(f"{target!r} is neither a number nor a SIP address")
    address = target if "@" in target else f"{target.replace('#', '%23')}@{trunk.server}"
    return f"sip:{address}{_parameters(trunk)}"


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise `CallRefused` for headers that would change the message."""
    for name, value in headers.items():
        if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", name) or _NO_TEXT.search(value) or len(value) > 1024:
            raise CallRefused(f"header {name!r} does not fit into a SIP message")
