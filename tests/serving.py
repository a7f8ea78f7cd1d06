"""A real bridge on loopback for tests: uvicorn in the test's own event loop, on a port of its own."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn

from app.main import create_app
from app.settings import Settings
from app.web.short_way import ShortWayProtocol


@asynccontextmanager
async def bridge(state_dir: Path, **environment: str) -> AsyncIterator[str]:
    """The URL of a bridge with these settings; the embedded providers unless others are asked for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        variables: Mapping[str, str] = {"PORT": str(port), "STATE_DIR": str(state_dir), **environment}
        app = create_app(Settings.load(variables, None))
        config = uvicorn.Config(
            app, port=port, log_config=None, access_log=False, ws=ShortWayProtocol, ws_per_message_deflate=False
        )
        server = uvicorn.Server(config)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve([listener]))
            while not server.started:
                assert not serving.done(), "the bridge did not start"
                await asyncio.sleep(0.01)
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                server.should_exit = True
                await serving
