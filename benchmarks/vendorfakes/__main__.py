"""All vendors in one process, on one core: `python -m benchmarks.vendorfakes PORT CORE`, until told to stop."""

import argparse
import asyncio

import uvloop

from benchmarks.machine import stay_on
from benchmarks.vendorfakes import anthropic
from benchmarks.vendorfakes.deepgram import Flux, Live
from benchmarks.vendorfakes.elevenlabs import Voice
from benchmarks.vendorfakes.wire import Connection, Peer, Request


def _socket(connection: Connection, request: Request) -> Peer:
    if request.path.startswith("/v1/text-to-speech/"):
        return Voice(connection)
    return Flux(connection, request) if request.path.startswith("/v2/listen") else Live(connection)


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(anthropic.answer, _socket), "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("core", type=int)
    told = parser.parse_args()
    stay_on(told.core)
    try:
        uvloop.run(_serve(told.port))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
