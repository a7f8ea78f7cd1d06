"""The worker process: decodes for a few calls so that the bridge never does.

PocketSphinx holds the interpreter lock while it decodes; in the bridge it would stop every call's audio. Runs as
`python -m providers.stt.pocketsphinx.worker`, with orders on its standard input and reports on its standard output
(see `wire`), and ends when its input does, however the bridge went.
"""

import os
import select
import signal
import sys
from pathlib import Path
from typing import assert_never

from providers.stt.pocketsphinx.call import Call
from providers.stt.pocketsphinx.decoding import Recogniser, UnknownWords, UnusableGrammar
from providers.stt.pocketsphinx.wire import (
    Audio,
    Close,
    Configure,
    Finalize,
    Order,
    Orders,
    Ready,
    Report,
    Unusable,
    packed,
)

_TURN_FRAMES = 3
"""Frames that a call may decode before the next one is served: 4 to 9 ms, so that a pre-roll of 12 stops nobody."""

_READ_BYTES = 1 << 16


def main() -> None:
    """Serve until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's interrupt reaches the whole group; the bridge decides
    pipe = _Pipe(sys.stdin.fileno(), _private_output())
    orders = pipe.orders(wait=True)
    while not orders:
        orders = pipe.orders(wait=True)
    configure, *rest = orders
    if not isinstance(configure, Configure):
        raise SystemExit("the first order must be Configure")
    try:
        recogniser = Recogniser(configure.jsgf, configure.sentences, Path(configure.folder))
    except UnknownWords as error:
        pipe.send([Unusable(f"the recogniser does not know how to pronounce: {error}; use other words")])
    except UnusableGrammar as error:
        pipe.send([Unusable(f"the grammar cannot be listened for: {error}")])
    else:
        pipe.send([Ready()])
        _serve(pipe, recogniser, rest)


def _serve(pipe: "_Pipe", recogniser: Recogniser, orders: list[Order]) -> None:
    calls = _Calls(recogniser)
    while True:
        for order in orders:
            _obey(order, calls)
        busy = [call for call in calls.values() if call.busy]
        for call in busy:
            pipe.send(call.work(_TURN_FRAMES))
        orders = pipe.orders(wait=not busy)


class _Pipe:
    """Orders in, reports out; blocking on either is how the two processes keep pace."""

    def __init__(self, input_fd: int, output_fd: int) -> None:
        self._input = input_fd
        self._output = output_fd
        self._received = Orders()

    def orders(self, wait: bool) -> list[Order]:
        """Orders that have come; with `wait`, as soon as some bytes come. Exits where the input ends."""
        if not wait and not select.select([self._input], [], [], 0)[0]:
            return []
        data = os.read(self._input, _READ_BYTES)
        if not data:
            raise SystemExit
        return self._received.receive(data)

    def send(self, reports: list[Report]) -> None:
        data = b"".join(map(packed, reports))
        while data:
            data = data[os.write(self._output, data) :]


class _Calls(dict[int, Call]):
    """Calls by number; the first order about a call opens it."""

    def __init__(self, recogniser: Recogniser) -> None:
        super().__init__()
        self._recogniser = recogniser

    def __missing__(self, number: int) -> Call:
        call = self[number] = Call(number, self._recogniser.utterance)
        return call


def _obey(order: Order, calls: _Calls) -> None:
    match order:
        case Audio(number, payload):
            calls[number].audio(payload)
        case Finalize(number):
            calls[number].finalize()
        case Close(number):
            call = calls.pop(number, None)
            if call is not None:
                call.close()
        case Configure():
            raise SystemExit("configured twice")
        case _:
            assert_never(order)


def _private_output() -> int:
    """Standard output for reports alone: whatever else a library prints goes to standard error."""
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return output


if __name__ == "__main__":
    main()
