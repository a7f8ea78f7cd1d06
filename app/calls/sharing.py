"""The key of stream tokens, as all processes know it.

Whoever comes first makes it; everybody reminds the store of it now and then, for a store may have been restarted empty,
and a process may have been started without a store. On one machine such a process finds it in a file.
"""

import os
from pathlib import Path

import structlog

from app.calls.store.base import Handshakes
from app.calls.store.errors import StoreMisconfigured, StoreUnavailable
from app.calls.tokens import StreamTokens
from telephony.clock import Clock

_KEY = "stream tokens"
_EVERY_S = 3.0

log = structlog.get_logger()


class SharedKey:
    """Keeps the tokens of this process good in all processes."""

    def __init__(self, tokens: StreamTokens, store: Handshakes, clock: Clock, file: Path | None = None) -> None:
        """`file`: where processes of this machine leave the key for each other."""
        self._tokens = tokens
        self._store = store
        self._clock = clock
        self._file = file
        self._filed = b""
        self._alone = False

    async def agree(self) -> None:
        """Issue and judge with the key that the store has, or give it ours. Raises `StoreMisconfigured`."""
        try:
            self._tokens.share(await self._store.secret(_KEY, self._tokens.key))
            self._alone = False
            self._leave()
        except StoreUnavailable as error:
            if not self._alone:
                log.warning("tokens may be good on this machine only", because=str(error))
            self._alone = True
            self._find()

    async def run(self) -> None:
        """Agree again and again, until cancelled."""
        while True:
            await self._clock.sleep_until(self._clock.now() + _EVERY_S)
            try:
                await self.agree()
            except StoreMisconfigured as error:  # calls go on with the key that they have
                if not self._alone:
                    log.warning("tokens may be good on this machine only", because=str(error))
                self._alone = True

    def _find(self) -> None:
        """The key that was left here last; if there is none, ours."""
        if self._file is None:
            return
        try:
            self._tokens.share(self._file.read_bytes() or self._tokens.key)
        except OSError:
            self._leave()

    def _leave(self) -> None:
        """For those who find no store."""
        if self._file is None or self._filed == self._tokens.key:
            return
        self._filed = self._tokens.key
        own = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with open(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(self._filed)
            own.replace(self._file)
        except OSError as error:
            log.warning("key of stream tokens not left for others", because=str(error))
