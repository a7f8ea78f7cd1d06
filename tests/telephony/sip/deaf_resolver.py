"""A machine whose resolver never answers, and a storm of calls on it. Run in namespaces of its own, as root.

Prints what the storm prints, and then how many questions the resolver was asked meanwhile.
"""

import socket
import subprocess
import sys
from pathlib import Path


def main(folder: Path) -> None:
    """Ten calls a second for a second."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
    socket.sethostname("nowhere-to-be-found")
    servers = folder / "resolv.conf"
    servers.write_text("nameserver 127.0.0.1\n")
    subprocess.run(["mount", "--bind", servers, "/etc/resolv.conf"], check=True, timeout=10)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.bind(("127.0.0.1", 53))
        resolver.setblocking(False)
        storm = [sys.executable, "-m", "benchmarks.storm", "--calls=10", "--rate=10", "--length-s=0.5", "--busy=0"]
        subprocess.run(storm, check=True, timeout=90)
        sys.stdout.write(f"\nquestions: {_waiting(resolver)}\n")


def _waiting(resolver: socket.socket) -> int:
    count = 0
    while True:
        try:
            resolver.recv(512)
        except BlockingIOError:
            return count
        count += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]))
