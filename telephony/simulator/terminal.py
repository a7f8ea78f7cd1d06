"""`sidetone call`: place a call and watch it. The only file of the simulator that prints."""

import argparse
import asyncio
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from telephony.clock import Clock, MonotonicClock
from telephony.simulator.call import place_call
from telephony.simulator.errors import ScriptRejected
from telephony.simulator.faults import Fault, Network
from telephony.simulator.line import CALLED, CALLER, Line
from telephony.simulator.narrator import Narrator, summary
from telephony.simulator.notices import Notice
from telephony.simulator.report import CallReport
from telephony.simulator.script import Script, built_in_scripts, load_script, script_of_files

DEFAULT_SCRIPT = "appointment"
DEFAULT_PORT = "8080"
REFRESH_S = 0.1
CALLS_PER_SECOND = 50.0
"""How quickly the calls of `--calls` follow each other."""
MET, NOT_MET, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments, for `run`."""
    add = parser.add_argument
    scripts = ", ".join(built_in_scripts())
    add("url", nargs="?", help="the bridge, or its voice webhook (default: http://127.0.0.1:$PORT)")
    add("--script", default=DEFAULT_SCRIPT, help=f"a built-in script ({scripts}) or a file (default: {DEFAULT_SCRIPT})")
    add("--say", nargs="+", type=Path, metavar="FILE.wav", help="instead of a script: say each of these in turn")
    add("--from", dest="caller", default=CALLER, metavar="NUMBER", help="the caller's number")
    add("--to", dest="called", default=CALLED, metavar="NUMBER", help="the number that is called")
    add("--record", type=Path, metavar="OUT.wav", help="write the call as heard: left the caller, right the agent")
    add("--plot", type=Path, metavar="OUT.png", help="draw where the time of each turn went")
    add("--report", type=Path, metavar="OUT.json", help="write everything that was measured")
    add("--calls", type=int, default=1, metavar="N", help="place N calls at once; files are of the first")
    add(
        "--public-url", metavar="URL", help="the address that the bridge believes to have: what signatures are made for"
    )
    add("--allow-plain-ws", action="store_true", help="accept a ws:// stream; always so for a bridge on this machine")
    add("--fault", action="append", default=[], choices=[str(fault) for fault in Fault], help="misbehave on purpose")
    add("--delay-ms", type=float, default=0.0, help="a network that delays each message")
    add("--jitter-ms", type=float, default=0.0, help="and by up to so much more")
    add("--drop-at-s", type=float, help="reset the media connection so many seconds into the first stream")
    add("--quiet", action="store_true", help="print the result only")


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Place the call. Returns 0, or 1 when an expectation was not met, or 2 when it could not be tried.

    `environment` may hold TWILIO_AUTH_TOKEN (requests are then signed), API_TOKEN and PORT.
    """
    try:
        script = script_of_files(arguments.say) if arguments.say else load_script(arguments.script)
    except ScriptRejected as error:
        return _refuse(str(error))
    if arguments.plot and importlib.util.find_spec("matplotlib") is None:
        return _refuse("--plot needs matplotlib: install the extra `plot`")
    if arguments.calls < 1:
        return _refuse("--calls: at least one")
    outputs = [path for path in (arguments.record, arguments.plot, arguments.report) if path is not None]
    if missing := [path for path in outputs if not path.parent.is_dir()]:
        return _refuse(f"{missing[0]}: no such folder")
    line = _line(arguments, environment)
    if line is None:
        return _refuse(f"{arguments.url}: not an http or https address")
    try:
        reports = asyncio.run(_place(line, script, arguments))
    except KeyboardInterrupt:
        return INTERRUPTED
    print("\n".join(summary(reports)))
    _write(reports[0], arguments)
    return NOT_MET if any(report.failed for report in reports) else MET


def _refuse(reason: str) -> int:
    print(f"sidetone call: {reason}", file=sys.stderr)
    return WRONG_USE


def _line(arguments: argparse.Namespace, environment: Mapping[str, str]) -> Line | None:
    url = arguments.url or f"http://127.0.0.1:{environment.get('PORT') or DEFAULT_PORT}"
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return None
    loopback = parts.hostname in {"localhost", "::1"} or parts.hostname.startswith("127.")
    line = Line(
        url=parts._replace(path="", query="", fragment="").geturl(),
        caller=arguments.caller,
        called=arguments.called,
        auth_token=environment.get("TWILIO_AUTH_TOKEN") or None,
        api_token=environment.get("API_TOKEN") or None,
        public_url=arguments.public_url,
        allow_plain_ws=arguments.allow_plain_ws or loopback,
        record=arguments.record is not None,
        faults=frozenset(Fault(name) for name in arguments.fault),
        network=Network(arguments.delay_ms, arguments.jitter_ms, drop_at_s=arguments.drop_at_s),
    )
    if parts.path not in {"", "/"}:
        line = replace(line, voice_path=parts._replace(scheme="", netloc="").geturl())
    return line


async def _place(line: Line, script: Script, arguments: argparse.Namespace) -> list[CallReport]:
    clock = MonotonicClock()
    if not arguments.quiet:
        signed = "signed" if line.auth_token else "not signed: TWILIO_AUTH_TOKEN is not set"
        print(f"{script.title}: {line.caller} calls {line.called} at {line.url} ({signed})")
    if arguments.calls == 1:
        return [await (place_call(line, script, clock) if arguments.quiet else _watch(line, script, clock))]
    return await _place_many(line, script, clock, arguments.calls)


async def _place_many(line: Line, script: Script, clock: Clock, count: int) -> list[CallReport]:
    began = clock.now()

    async def place(number: int) -> CallReport:
        await clock.sleep_until(began + number / CALLS_PER_SECOND)
        return await place_call(replace(line, record=line.record and number == 0), script, clock)

    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(place(number)) for number in range(count)]
    return [call.result() for call in calls]


async def _watch(line: Line, script: Script, clock: Clock) -> CallReport:
    """Place the call and print it as it goes; on a terminal with a last line that shows the moment."""
    narrator = Narrator()
    live = sys.stdout.isatty()
    erase = "\r\033[2K" if live else ""

    def tell(notice: Notice) -> None:
        text = narrator.tell(notice)
        if text is not None:
            print(f"{erase}{text}", flush=True)

    async def refresh() -> None:
        began = clock.now()
        while True:
            print(f"{erase}{narrator.status(clock.now() - began)}", end="", flush=True)
            await clock.sleep_until(clock.now() + REFRESH_S)

    async with asyncio.TaskGroup() as tasks:
        refreshing = tasks.create_task(refresh()) if live else None
        report = await place_call(line, script, clock, tell)
        if refreshing is not None:
            refreshing.cancel()
            print(erase, end="")
    return report


def _write(report: CallReport, arguments: argparse.Namespace) -> None:
    if arguments.record is not None and report.recording is not None:
        arguments.record.write_bytes(report.recording.wav())
    if arguments.report is not None:
        arguments.report.write_bytes(report.json())
    if arguments.plot is not None:
        from telephony.simulator.waterfall import draw  # matplotlib takes a second to load

        draw(report, arguments.plot)
    for path in (arguments.record, arguments.report, arguments.plot):
        if path is not None:
            print(f"  written   {path}")
