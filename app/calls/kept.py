"""What is kept of calls, as the settings have it: where, under which keys, for how long."""

from dataclasses import dataclass

from app.calls.archive import CallArchive
from app.calls.seal import Seal
from app.calls.store.base import CallStore
from app.calls.store.opening import open_store
from app.settings import Settings
from telephony.clock import Clock


@dataclass(frozen=True)
class Kept:
    """The store, not entered yet, the seal of journals in it, and a reader of both."""

    store: CallStore
    seal: Seal
    archive: CallArchive


def open_kept(settings: Settings, clock: Clock) -> Kept:
    """Raises `StoreMisconfigured`."""
    seal = Seal(settings.keys())
    url = settings.store_url.get_secret_value()
    store = open_store(url, settings.state_dir, clock, keep_s=settings.calls_kept_h * 3600.0)
    return Kept(store, seal, CallArchive(store, seal))
