"""The command `sidetone calls`: calls as the store has them, listed, or one of them told line by line."""

import argparse
import asyncio

from app.arguments import at_least_one
from app.calls.journal import encode
from app.calls.kept import open_kept
from app.calls.redaction import redacted
from app.calls.timeline import listing, timeline
from app.settings import Settings
from telephony.clock import MonotonicClock


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What may be asked."""
    parser.add_argument("call_id", nargs="?", help="tell this call; without it, list calls")
    parser.add_argument(
        "--limit", type=at_least_one, default=20, metavar="N", help="list at most so many (default: %(default)s)"
    )
    parser.add_argument("--live", action="store_true", help="list only calls that have not ended")
    parser.add_argument("--json", action="store_true", help="the call's journal as it is, one event a line")


def run(arguments: argparse.Namespace, settings: Settings) -> list[str]:
    """The lines that were asked for; none: there is no such call. Raises `StoreError`."""
    return asyncio.run(_lines(arguments, settings))


async def _lines(arguments: argparse.Namespace, settings: Settings) -> list[str]:
    kept, private = open_kept(settings, MonotonicClock()), settings.private_shown
    async with kept.store:
        if arguments.call_id is None:
            cards = await kept.archive.calls(arguments.limit, live=arguments.live)
            return list(listing(card.shown(private) for card in cards))
        events = [redacted(event, private) for event in await kept.archive.events(arguments.call_id)]
    return [encode(event).decode() for event in events] if arguments.json else list(timeline(events))
