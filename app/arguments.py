"""What several subcommands take."""

import argparse


def at_least_one(given: str) -> int:
    """A number for `argparse`. Raises `ArgumentTypeError`."""
    try:
        number = int(given)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{given!r} is no number from 1 up")
    return number
