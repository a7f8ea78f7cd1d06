"""The listening socket: our own, the supervisor's, or systemd's.

As long as somebody holds it carriers are not refused while a process is replaced: their connections wait in its
backlog.
"""

import os
import socket
from collections.abc import Mapping

_FIRST_FD = 3
"""https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html"""
_BACKLOG = 2048


def inherited_fd(environment: Mapping[str, str]) -> int | None:
    """The socket that systemd passed to this very process; None: it passed none."""
    count, pid = environment.get("LISTEN_FDS", "0"), environment.get("LISTEN_PID", "")
    return _FIRST_FD if count.isdigit() and int(count) >= 1 and pid == str(os.getpid()) else None


def listening_socket(host: str, port: int, fd: int | None) -> socket.socket:
    """The socket behind `fd`, or a new one. Raises `OSError` where the address cannot be had."""
    if fd is not None:
        return socket.socket(fileno=fd)
    listener = socket.create_server((host, port), family=_family(host), backlog=_BACKLOG)
    listener.setblocking(False)
    return listener


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
