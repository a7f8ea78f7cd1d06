"""A line that loses packets and delivers the others unevenly: two tunnel devices, and what passes between them.

Usage: lossy_line DEVICE DEVICE LOSS DELAY_MS JITTER_MS. The devices exist from the word `ready` on, while this runs.
It does what the kernel's netem does, which not every kernel has. Each packet's fate is drawn by itself, from a fixed
seed: lost with probability LOSS, else late by DELAY_MS and a uniform share of JITTER_MS, so packets overtake.
"""

import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_LONGEST = 2048


def device(name: str) -> int:
    """A new tunnel device; reading from it gives the packets sent through it."""
    opened = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(opened, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return opened


def carry(ends: tuple[int, int], loss: float, delay_s: float, jitter_s: float) -> None:
    """Pass packets on, for ever."""
    drawn = random.Random(1)
    under_way: list[tuple[float, int, int, bytes]] = []
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    sent = 0
    while True:
        wait_s = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        arrived, _, _ = select.select(ends, (), (), wait_s)
        now = time.monotonic()
        for end in arrived:
            packet = os.read(end, _LONGEST)
            if drawn.random() >= loss:
                sent += 1
                heapq.heappush(under_way, (now + delay_s + drawn.random() * jitter_s, sent, other[end], packet))
        while under_way and under_way[0][0] <= now:
            _, _, to, packet = heapq.heappop(under_way)
            try:
                os.write(to, packet)
            except OSError:
                continue  # the device is not up, as a real line may be


def main() -> None:
    """Make the devices, say so, and carry."""
    first, second, loss, delay_ms, jitter_ms = sys.argv[1:]
    ends = device(first), device(second)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    carry(ends, float(loss), float(delay_ms) / 1000, float(jitter_ms) / 1000)


if __name__ == "__main__":
    main()
