"""`python -m benchmarks`: the benchmarks by name; with a name, one of them."""

import argparse
import importlib
import sys
from pathlib import Path

from app.telemetry import logs
from benchmarks.speech import NoRecordings

NAMES = (
    *("onset", "bargein", "load", "budgets", "frames", "turns"),
    *("vendors", "faults", "recovery", "soak", "journal", "sip", "hangups"),
)


def main() -> int:
    """Run one benchmark, print what it found."""
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in NAMES}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What the project claims, as commands.")
    commands = parser.add_subparsers(dest="name", metavar="NAME")
    for name, module in modules.items():
        command = commands.add_parser(name, help=module.SUMMARY, description=module.__doc__)
        command.formatter_class = argparse.RawDescriptionHelpFormatter
        command.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file, too")
        module.add_arguments(command)
    told = parser.parse_args()
    logs.configure("warning", "console")
    if told.name is None:
        parser.print_help()
        return 0
    try:
        report = modules[told.name].measure(told)
    except NoRecordings as missing:
        print(missing, file=sys.stderr)
        return 2
    print(report.text())
    if told.json:
        told.json.write_text(report.json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
