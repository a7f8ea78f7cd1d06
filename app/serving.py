"""One serving process: uvicorn around the bridge, and how it comes to its end.

Told to stop, it takes no new calls and lets the live ones go on to a deadline; what then remains is handed over to
another process, call by call, if there will be one.
"""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Callable
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from app.calls.switchboard import Switchboard
from app.settings import Settings
from app.web.short_way import ShortWayProtocol

log = structlog.get_logger()

_MESSAGE_BYTES = 1024 * 1024
"""Longer websocket messages end the socket; those between 64 KiB and this are counted and dropped."""

_COLLECT_EVERY = (10_000, 20, 20)
"""New objects between passes over the young, passes over the young between those over the middle-aged, and so on."""


class Leash:
    """A worker's end of the socket pair with its supervisor."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)

    def ready(self) -> None:
        """Tell the supervisor that calls can come."""
        with contextlib.suppress(OSError):  # it is gone: the loop will tell
            self._socket.send(b"\n")

    async def parted(self) -> None:
        """Return when the supervisor is gone."""
        with contextlib.suppress(OSError):
            while await asyncio.get_running_loop().sock_recv(self._socket, 1):
                pass


def serve(
    app: FastAPI,
    settings: Settings,
    listening: socket.socket,
    leash: Leash | None,
    *,
    succeeded: bool,
    welcome: Callable[[], None],
) -> None:
    """Serve until told to stop; `welcome` is called when calls can come. `succeeded`: another process will get the
    carriers' requests when this one is gone. Raises what the app's lifespan raises."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        ws=ShortWayProtocol,
        ws_max_size=_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=15,
        lifespan="off",  # `_Server` sees to it, so that what goes wrong in it is told in our words
    )
    spare_the_collector()
    server = _Server(config, app, settings.drain_s, leash, succeeded=succeeded, welcome=welcome)
    with contextlib.suppress(KeyboardInterrupt):  # it has ended in good order, and passes on what told it to
        server.run(sockets=[listening])


def spare_the_collector() -> None:
    """Have the cyclic garbage collector look rarely, and at little: each pass stops all calls, a full one 60 to 160 ms
    with 200 of them.

    Of an ended call nothing is left for it (`telephony.tasks`), so it finds next to nothing; with the interpreter's own
    thresholds it took 4 % of the time all the same. What is loaded by now lives as long as the process.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_EVERY)


class _Server(uvicorn.Server):
    """Told to stop, it takes no new calls and sees to the live ones before it closes their sockets."""

    def __init__(
        self,
        config: uvicorn.Config,
        app: FastAPI,
        drain_s: float,
        leash: Leash | None,
        *,
        succeeded: bool,
        welcome: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._app = app
        self._life = contextlib.AsyncExitStack()
        self._welcome = welcome
        self._switchboard: Switchboard = app.state.switchboard
        self._drain_s = drain_s
        self._leash = leash
        self._succeeded = succeeded

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGINT means that everything ends: nobody comes after us."""
        if sig == signal.SIGINT:
            self._succeeded = False
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """The app comes to life before anybody is let in. Raises `ProviderMisconfigured` for what turns out only when
        the vendors are asked, and `EndpointFailed` for a SIP port that is taken."""
        try:
            await self._life.enter_async_context(self._app.router.lifespan_context(self._app))
        except ExceptionGroup as group:  # of the task groups that were open when it failed
            raise _alone(group) from None
        await super().startup(sockets)
        self._welcome()

    async def main_loop(self) -> None:
        if self._leash is None:
            await super().main_loop()
            return
        self._leash.ready()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._stop_with_supervisor(self._leash))
            await super().main_loop()
            watching.cancel()

    async def _stop_with_supervisor(self, leash: Leash) -> None:
        await leash.parted()
        self._succeeded = False
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """A second signal does not wait for the calls."""
        live = len(self._switchboard.directory)
        if live:
            then = "handed over" if self._succeeded else "ended"
            log.info("live calls may go on", calls=live, until_s=self._drain_s, then=then)
        if self._succeeded:
            for server in self.servers:
                server.close()  # new connections are for those who stay
        await self._switchboard.custody.drain(self._drain_s, lambda: self.force_exit, successor=self._succeeded)
        await super().shutdown(sockets)
        await self._life.aclose()


def _alone(failure: Exception) -> Exception:
    """What failed, out of the groups around it, unless several things failed."""
    while isinstance(failure, ExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    return failure
