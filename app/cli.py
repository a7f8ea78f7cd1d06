"""The command `sidetone`: serve the bridge, or call it as a carrier would."""

import argparse
import gc
import socket
import sys
from collections.abc import Sequence

import uvicorn

from app.calls.directory import Directory
from app.conversation.tools import ToolSetupError
from app.main import create_app
from app.settings import Settings, SettingsError
from app.telemetry import logs
from providers.errors import ProviderMisconfigured
from telephony.carriers import CARRIERS

_MESSAGE_BYTES = 1024 * 1024
"""Longer websocket messages end the socket; those between 64 KiB and this are counted and dropped."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; the result is the process's exit code."""
    parser = argparse.ArgumentParser(prog="sidetone", description="Answers phone calls and holds a conversation.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="run the bridge")
    call = commands.add_parser("call", help="place a simulated phone call to a running bridge")
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["call"]:
        from telephony.simulator import terminal  # the bridge starts faster without the other end of the line

        terminal.add_arguments(call)
    parsed = parser.parse_args(given)
    try:
        settings = Settings.load()
        if parsed.command == "call":
            return terminal.run(parsed, settings.environment)
        return _serve(settings)
    except (SettingsError, ProviderMisconfigured, ToolSetupError) as error:
        print(f"sidetone cannot start.\n{error}", file=sys.stderr)
        return 2


def _serve(settings: Settings) -> int:
    logs.configure(settings.log_level, settings.log_format)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        ws="websockets-sansio",
        ws_max_size=_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=15,
    )
    print(_welcome(settings, app.state.chosen), flush=True)
    # What is loaded by now lives as long as the process: a full collection that skips it holds up calls for less than
    # half as long (31 ms instead of 76 with 250 calls).
    gc.collect()
    gc.freeze()
    _Server(config, app.state.directory, settings.drain_s).run()
    return 0


class _Server(uvicorn.Server):
    """Told to stop, it takes no new calls and lets the live ones end before it closes their sockets."""

    def __init__(self, config: uvicorn.Config, directory: Directory, drain_s: float) -> None:
        super().__init__(config)
        self._directory = directory
        self._drain_s = drain_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """A second signal does not wait for the calls."""
        if len(self._directory):
            print(f"Waiting up to {self._drain_s:g} s for {len(self._directory)} live calls to end.", flush=True)
        await self._directory.drain(self._drain_s, impatient=lambda: self.force_exit)
        await super().shutdown(sockets)


def _welcome(settings: Settings, chosen: dict[str, str]) -> str:
    """What to do next, in a few lines."""
    lines = [f"Sidetone listens on http://{settings.host}:{settings.port}", ""]
    labels = {"stt": "listens", "llm": "thinks", "tts": "speaks"}
    lines += [f"  {labels[kind]:8} {reason}" for kind, reason in chosen.items()]
    lines += ["", "  test call     make call   (in another terminal)"]
    for carrier in CARRIERS.values():
        if settings.secrets_of(carrier):
            lines.append(f"  {carrier.name:12}  voice webhook  POST {settings.base_url}/{carrier.name}/voice")
            lines.append(f"  {'':12}  status         POST {settings.base_url}/{carrier.name}/status")
        else:
            lines.append(
                f"  {carrier.name:12}  this machine only: set {carrier.secret_variables[0]} and PUBLIC_URL to take "
                "calls from outside"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
