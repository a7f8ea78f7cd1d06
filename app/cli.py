"""The command `sidetone`: serve the bridge, or call it as a carrier would."""

import argparse
import asyncio
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from app.arguments import at_least_one
from app.calls import command
from app.calls.store.errors import StoreError, StoreMisconfigured
from app.conversation.tools import ToolSetupError
from app.listening import inherited_fd, listening_socket
from app.main import create_app
from app.serving import Leash, serve
from app.settings import Settings, SettingsError
from app.sip import command as dialling
from app.supervisor import Supervisor, worker_command
from app.telemetry import logs
from providers.errors import ProviderError, ProviderMisconfigured
from telephony.carriers import CARRIERS
from telephony.clock import MonotonicClock
from telephony.errors import MissingExtra
from telephony.sip.errors import EndpointFailed

_CANNOT_START = (
    SettingsError,
    ProviderMisconfigured,
    ToolSetupError,
    MissingExtra,
    StoreMisconfigured,
    EndpointFailed,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; the result is the process's exit code."""
    parser = argparse.ArgumentParser(prog="sidetone", description="Answers phone calls and holds a conversation.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_serve_arguments(commands.add_parser("serve", help="run the bridge"))
    calls = commands.add_parser("calls", help="list calls, or tell what happened in one")
    command.add_arguments(calls)
    call = commands.add_parser("call", help="place a simulated phone call to a running bridge")
    dial = commands.add_parser("dial", help="have the running bridge call somebody over a SIP trunk")
    dialling.add_arguments(dial)
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["call"]:
        from telephony.simulator import terminal  # the bridge starts faster without the other end of the line

        terminal.add_arguments(call)
    parsed = parser.parse_args(given)
    try:
        settings = Settings.load()
        if parsed.command == "call":
            return terminal.run(parsed, settings.environment)
        if parsed.command == "dial":
            return dialling.run(parsed, settings, partial(print, flush=True))
        if parsed.command == "calls":
            lines = command.run(parsed, settings)
            if not lines:
                print(f"no call {parsed.call_id} is kept", file=sys.stderr)
                return 1
            print("\n".join(lines))
            return 0
        return _serve(settings, parsed)
    except _CANNOT_START as error:
        print(f"sidetone cannot start.\n{error}", file=sys.stderr)
        return 2
    except ProviderError as error:
        print(f"sidetone cannot start.\n{error}", file=sys.stderr)
        return 1
    except StoreError as error:
        print(error, file=sys.stderr)
        return 1


def _add_serve_arguments(serving: argparse.ArgumentParser) -> None:
    serving.add_argument(
        "--workers", type=at_least_one, metavar="N", help="processes that share the port (default: WORKERS, 1)"
    )
    for name in ("--worker", "--listening-fd", "--leash-fd"):  # what a supervisor tells its workers
        serving.add_argument(name, type=int, help=argparse.SUPPRESS)
    serving.add_argument("--siblings", type=Path, help=argparse.SUPPRESS)


def _serve(settings: Settings, told: argparse.Namespace) -> int:
    """Serve calls: as the one process, as a supervisor of several, or as one of those."""
    logs.configure(settings.log_level, settings.log_format)
    inherited = inherited_fd(settings.environment)
    try:
        listening = listening_socket(settings.host, settings.port, told.listening_fd or inherited)
    except OSError as error:
        print(f"sidetone cannot listen on {settings.host}:{settings.port}: {error}", file=sys.stderr)
        return 1
    workers = told.workers or settings.workers
    if told.leash_fd is None and workers > 1:
        return asyncio.run(_supervise(workers, listening, inherited=inherited is not None))
    app = create_app(settings, worker=(told.worker or 0, workers), siblings=told.siblings)
    welcome = partial(print, _welcome(settings, app.state.chosen), flush=True) if not told.worker else lambda: None
    leash = Leash(told.leash_fd) if told.leash_fd is not None else None
    shared = settings.store_url.get_secret_value().startswith("redis")
    serve(
        app, settings, listening, leash, succeeded=leash is not None or inherited is not None or shared, welcome=welcome
    )
    return 0


async def _supervise(workers: int, listening: socket.socket, *, inherited: bool) -> int:
    with TemporaryDirectory(prefix="sidetone-") as siblings:
        command = partial(worker_command, siblings)
        return await Supervisor(command, workers, listening, MonotonicClock(), inherited=inherited).run()


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
