"""A machine whose resolver never answers, and calls on it. Run in namespaces of its own, as root.

`storm`: a storm of calls between addresses; prints what the storm prints, and then how many questions the resolver was
asked meanwhile. `names`: a peer that names itself by a host name; prints how long the phone's event loop was deaf, and
how long another call waited for its end.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.telephony.sip import phones as telephones
from tests.telephony.sip.phones import Phone, free_ports, phone_settings, phones
from tests.telephony.sip.wire import Dialog, UserAgent

NAME = "sbc3.carrier.example"


@contextmanager
def deaf_resolver(folder: Path) -> Iterator[socket.socket]:
    """A resolver that is asked and says nothing."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
    socket.sethostname("nowhere-to-be-found")
    servers = folder / "resolv.conf"
    servers.write_text("nameserver 127.0.0.1\n")
    subprocess.run(["mount", "--bind", servers, "/etc/resolv.conf"], check=True, timeout=10)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.bind(("127.0.0.1", 53))
        resolver.setblocking(False)
        yield resolver


def storm(folder: Path) -> None:
    """Ten calls a second for a second."""
    with deaf_resolver(folder) as resolver:
        calls = [sys.executable, "-m", "benchmarks.storm", "--calls=10", "--rate=10", "--length-s=0.5", "--busy=0"]
        subprocess.run(calls, check=True, timeout=90)
        sys.stdout.write(f"\nquestions: {_waiting(resolver)}\n")


def names(folder: Path) -> None:
    """Hold, transfer and hang up calls with a peer whose name cannot be looked up, dial another one, and then hang up a
    call with a peer that has an address."""
    telephones.WITHIN_S = 60.0  # to its end, it waits for the resolver as often as it has to
    port = free_ports(2)
    with deaf_resolver(folder) as resolver, UserAgent() as named, UserAgent() as plain:
        named.contact = f"sip:wire@{NAME}:5060"
        trunks = [
            {"name": name, "server": f"127.0.0.1:{agent.port}", "register": False, "options_every_s": 0}
            for name, agent in (("named", named), ("plain", plain))
        ]
        trunks.append({"name": "lost", "server": NAME, "register": False, "options_every_s": 0})
        with phones(phone_settings(port, trunks=trunks)) as (bob,):
            other, _ = _called(bob, plain, port)
            calls = [_called(bob, named, port)[0] for _ in range(3)]
            longest_s = max(
                _took_s(bob, "hold", call=calls[0]),
                _took_s(bob, "transfer", call=calls[1], target="5503"),
                _took_s(bob, "hang_up", call=calls[2]),
                _took_s(bob, "dial", trunk="lost", target="5501"),
                *(_took_s(bob, "statistics", call=call) for call in (*calls, other)),
            )
            time.sleep(1.0)  # all of them are at it by now
            longest_s = max(longest_s, *(_took_s(bob, "statistics", call=call) for call in (*calls, other)))
            began = time.monotonic()
            longest_s = max(longest_s, _took_s(bob, "hang_up", call=other))
            plain.answer(plain.until("BYE"), "200 OK")
            bob.until("CallEnded", call=other)
            ended_s = time.monotonic() - began
        sys.stdout.write(json.dumps({"longest_s": longest_s, "ended_s": ended_s, "questions": _waiting(resolver)}))


def _called(bob: Phone, agent: UserAgent, port: int) -> tuple[int, Dialog]:
    dialog = agent.invite(("127.0.0.1", port))
    number = bob.offered()["call"]
    dialog.answered()
    bob.until("CallAnswered", call=number)
    return number, dialog


def _took_s(phone: Phone, order: str, **arguments: object) -> float:
    began = time.monotonic()
    phone.do(order, **arguments)
    return time.monotonic() - began


def _waiting(resolver: socket.socket) -> int:
    count = 0
    while True:
        try:
            resolver.recv(512)
        except BlockingIOError:
            return count
        count += 1


if __name__ == "__main__":
    {"storm": storm, "names": names}[sys.argv[1]](Path(sys.argv[2]))
