"""Settings in the library's terms: URIs, account, media and transport configurations."""

import ssl
from typing import Any

import pjsua2 as pj

from telephony.audio import FRAME_MS, TELEPHONE
from telephony.sip.settings import Codec, EndpointSettings, SessionTimers, Srtp, Transport, Trunk
from telephony.sip.uris import route_uri, server_uri, trunk_identity

_TRANSPORT_TYPES = {
    Transport.UDP: (pj.PJSIP_TRANSPORT_UDP, pj.PJSIP_TRANSPORT_UDP6),
    Transport.TCP: (pj.PJSIP_TRANSPORT_TCP, pj.PJSIP_TRANSPORT_TCP6),
    Transport.TLS: (pj.PJSIP_TRANSPORT_TLS, pj.PJSIP_TRANSPORT_TLS6),
}
"""Over IPv4, and over IPv6."""
_SRTP = {
    Srtp.OFF: pj.PJMEDIA_SRTP_DISABLED,
    Srtp.OPTIONAL: pj.PJMEDIA_SRTP_OPTIONAL,
    Srtp.REQUIRED: pj.PJMEDIA_SRTP_MANDATORY,
}
_TIMERS = {
    SessionTimers.OFF: pj.PJSUA_SIP_TIMER_INACTIVE,
    SessionTimers.ACCEPTED: pj.PJSUA_SIP_TIMER_OPTIONAL,
    SessionTimers.REQUIRED: pj.PJSUA_SIP_TIMER_REQUIRED,
}
CODEC_IDS = {
    Codec.PCMU: "PCMU/8000/1",
    Codec.PCMA: "PCMA/8000/1",
    Codec.G722: "G722/16000/1",
    Codec.OPUS: "opus/48000/2",
}
_JITTER_BUFFER_MS = 400
"""The longest that the adaptive jitter buffer gets."""
_SPARE_PORTS = 8
"""Conference ports besides the two of each call."""
_REFRESH_BEFORE_S = 30
_UNREGISTER_MS = 2000


def endpoint_config(settings: EndpointSettings) -> Any:
    """One thread for signalling, one for RTP, the conference at the telephone's rate."""
    config = pj.EpConfig()
    agent, media, logs = config.uaConfig, config.medConfig, config.logConfig
    agent.threadCnt = 1
    agent.maxCalls = settings.max_calls
    agent.userAgent = settings.user_agent
    for server in settings.nameservers:
        agent.nameserver.append(server)
    if settings.stun_server:
        agent.stunServer.append(settings.stun_server)
        agent.stunIgnoreFailure = True
    media.clockRate = media.sndClockRate = TELEPHONE.rate_hz
    media.channelCount = 1
    media.audioFramePtime = FRAME_MS
    media.ptime = 0  # as the peer asks
    media.noVad = True  # we send at all times: it keeps NATs open, and the far end's buffer fed
    media.ecTailLen = 0
    media.threadCnt = 1
    media.hasIoqueue = True
    media.maxMediaPorts = 2 * settings.max_calls + _SPARE_PORTS
    media.sndAutoCloseTime = -1
    media.jbMax = _JITTER_BUFFER_MS
    logs.level = 2
    logs.consoleLevel = 2
    logs.decor = 0
    logs.msgLogging = 0
    return config


def transport_type(settings: EndpointSettings, transport: Transport) -> int:
    """The library's name for it, in the family of the address that we listen on."""
    kind: int = _TRANSPORT_TYPES[transport][settings.ipv6]
    return kind


def transport_config(settings: EndpointSettings, transport: Transport) -> Any:
    """Where to listen, what to be called, and for TLS whom to trust."""
    config = pj.TransportConfig()
    config.boundAddress = settings.bind_address
    config.port = settings.tls_port if transport is Transport.TLS else settings.port
    config.publicAddress = settings.public_address
    if transport is Transport.TLS:
        tls = config.tlsConfig
        tls.certFile, tls.privKeyFile = settings.tls.certificate, settings.tls.private_key
        tls.CaListFile = settings.tls.authorities or _system_authorities()
        tls.verifyServer = settings.tls.verify_servers
        tls.verifyClient = tls.requireClientCert = settings.tls.require_client_certificate
        tls.proto = pj.PJ_SSL_SOCK_PROTO_TLS1_2 | pj.PJ_SSL_SOCK_PROTO_TLS1_3
        tls.msecTimeout = 5000
    return config


def _system_authorities() -> str:
    """The file of the authorities that the system trusts, if OpenSSL knows one."""
    return ssl.get_default_verify_paths().cafile or ""


def account_config(settings: EndpointSettings, trunk: Trunk) -> Any:
    """One trunk. Registering is asked for, not done by itself: the trunk decides when to try again."""
    config = pj.AccountConfig()
    config.idUri = trunk_identity(trunk)
    registration, sip = config.regConfig, config.sipConfig
    registration.registerOnAdd = False
    if trunk.register:
        registration.registrarUri = server_uri(trunk)
        registration.timeoutSec = trunk.expires_s
        registration.delayBeforeRefreshSec = min(_REFRESH_BEFORE_S, trunk.expires_s // 4)
        registration.retryIntervalSec = registration.firstRetryIntervalSec = 0
        registration.unregWaitMsec = _UNREGISTER_MS
    if trunk.password:
        sip.authCreds.append(pj.AuthCredInfo("digest", trunk.realm, trunk.auth_user or trunk.user, 0, trunk.password))
    if trunk.proxy:
        sip.proxies.append(route_uri(trunk))
    # One or the other: left to choose, the library asks the resolver for this machine's own name in every call.
    only = pj.PJSUA_IPV6_ENABLED_USE_IPV6_ONLY if settings.ipv6 else pj.PJSUA_IPV6_DISABLED
    sip.ipv6Use = config.mediaConfig.ipv6Use = only
    _add_media(config.mediaConfig, settings, trunk)
    _add_nat(config, settings, trunk)
    calls = config.callConfig
    calls.timerUse = _TIMERS[trunk.session_timers]
    calls.timerSessExpiresSec = trunk.session_expires_s
    return config


def _add_media(media: Any, settings: EndpointSettings, trunk: Trunk) -> None:
    first, last = settings.rtp_ports
    media.transportConfig.boundAddress = settings.bind_address
    media.transportConfig.publicAddress = settings.public_address
    media.transportConfig.port, media.transportConfig.portRange = first, last - first
    media.srtpUse, media.srtpSecureSignaling = _SRTP[trunk.srtp], 0
    media.srtpOpt.keyings.append(pj.PJMEDIA_SRTP_KEYING_SDES)
    media.lockCodecEnabled = False  # a re-INVITE right after the answer, for what we decode anyway


def _add_nat(config: Any, settings: EndpointSettings, trunk: Trunk) -> None:
    use = pj.PJSUA_STUN_USE_DEFAULT if trunk.stun and settings.stun_server else pj.PJSUA_STUN_USE_DISABLED
    nat = config.natConfig
    nat.sipStunUse = nat.mediaStunUse = use
    if settings.public_address:
        nat.contactRewriteUse = nat.viaRewriteUse = 0  # we know who we are
