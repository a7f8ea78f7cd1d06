"""Short calls over SIP, a hundred a second, while the event loop is busy half of the time: does the process survive?

Each run is a process of its own whose endpoint (`telephony.sip`) calls itself, with audio both ways through its legs,
and has to see both ends of every call end. Calls that come and go are where media threads and Python's objects meet.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import time

from benchmarks.report import Report

SUMMARY = "short SIP calls at a high rate with a busy loop: crashes, calls that failed"

_DEADLINE_S = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--calls", type=int, default=800)
    parser.add_argument("--rate", type=float, default=100.0, help="calls per second")
    parser.add_argument("--length-s", type=float, default=0.7)
    parser.add_argument("--busy", type=float, default=0.5, help="share of the time that the loop spends in Python")


def measure(told: argparse.Namespace) -> Report:
    """One row per run."""
    report = Report("hangups")
    if importlib.util.find_spec("pjsua2") is None:
        report.notes.append("pjsua2 is not installed: run make sip.")
        return report
    shape = [f"--{name}={getattr(told, name.replace('-', '_'))}" for name in ("calls", "rate", "length-s", "busy")]
    table = report.table(
        f"{told.calls} calls of {told.length_s} s at {told.rate:.0f}/s, loop {told.busy:.0%} busy",
        *("run", "ended as", "calls", "ends seen", "failed", "frames", "seconds"),
    )
    for run in range(1, told.runs + 1):
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-m", "benchmarks.storm", *shape],
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
            check=False,
        )
        took_s = time.monotonic() - began
        if done.returncode:
            table.add(run, f"exit {done.returncode}", None, None, None, None, took_s)
            report.notes.append(f"run {run}: {done.stderr.strip()[:2000] or 'no word'}")
        else:
            found = json.loads(done.stdout.splitlines()[-1])  # after what pjsua2 says of itself
            table.add(run, "in order", *(found[key] for key in ("placed", "ended", "failed", "frames")), took_s)
    return report
