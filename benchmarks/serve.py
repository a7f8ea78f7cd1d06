"""The process under test: the bridge as `sidetone serve` runs it, or the bare web stack; on one core.

    python -m benchmarks.serve PORT CORE [--only-echo] [--ws IMPLEMENTATION] [--profile FILE]

Settings come from the environment. Beside the bridge's own routes there is `/echo`, a websocket that sends every
message back: whatever it costs, the web stack costs.
"""

import argparse
import cProfile

import uvicorn
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.main import create_app
from app.serving import spare_the_collector
from app.settings import Settings
from app.telemetry import logs
from app.web.short_way import ShortWayProtocol
from benchmarks.machine import stay_on
from benchmarks.providers import register


class Echo:
    """A raw ASGI websocket, like the bridge's media endpoint. A class, because routes wrap functions."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": message["text"]})


async def _bare(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await Echo()(scope, receive, send)
    elif scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def _application(only_echo: bool) -> ASGIApp:
    if only_echo:
        return _bare
    register()
    settings = Settings.load(env_file=None)
    logs.configure("warning", "console")
    app = create_app(settings)
    app.router.routes.append(WebSocketRoute("/echo", Echo()))
    return app


def main() -> None:
    """Serve until the process is told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("core", type=int)
    parser.add_argument("--only-echo", action="store_true")
    parser.add_argument("--ws", help="instead of the bridge's own way; of the bare echo websockets-sansio")
    parser.add_argument("--profile")
    told = parser.parse_args()
    stay_on(told.core)
    config = uvicorn.Config(
        _application(told.only_echo),
        host="127.0.0.1",
        port=told.port,
        log_config=None,
        log_level="warning",
        access_log=False,
        ws=told.ws or ("websockets-sansio" if told.only_echo else ShortWayProtocol),
        ws_max_size=64 * 1024,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=1,
    )
    if told.profile:
        with cProfile.Profile() as profile:
            _run(config)
        profile.dump_stats(told.profile)
    else:
        _run(config)


def _run(config: uvicorn.Config) -> None:
    spare_the_collector()
    try:
        uvicorn.Server(config).run()
    except KeyboardInterrupt:  # uvicorn has ended in good order, and passes on what told it to
        pass


if __name__ == "__main__":
    main()
