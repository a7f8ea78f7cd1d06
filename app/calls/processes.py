"""This process among others: its name as an owner of calls, and whether another one on this machine is dead.

A process holds a lock on a file that bears its name. The kernel gives the lock back the moment the process is gone,
however it went, so that a successor need not wait for leases to run out. A process of which this machine has no file
lives elsewhere: then only its leases tell.
"""

import fcntl
import os
import secrets
import socket
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self


class OwnProcess:
    """A context manager: from entering to leaving, or to the process's death, others see it alive."""

    def __init__(self, folder: Path) -> None:
        """`folder` is shared by the processes of this machine."""
        self._folder = folder
        self._lock: FileIO | None = None
        self._dead_before: list[Path] = []
        host = "".join(c if c.isalnum() else "-" for c in socket.gethostname())
        self.name = f"{host}.{os.getpid()}.{secrets.token_hex(3)}"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._dead_before = [path for path in self._folder.iterdir() if self.outlived(path.name)]
        self._lock = FileIO(self._folder / self.name, "w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave no file, nor those of processes that were dead before this one began: while it lived, their calls were
        looked after."""
        if self._lock is not None:
            # Asked again: one that was just about to take its lock had looked dead.
            dead = [path for path in self._dead_before if self.outlived(path.name)]
            for path in (self._folder / self.name, *dead):
                path.unlink(missing_ok=True)
            self._lock.close()

    def outlived(self, owner: str) -> bool:
        """That process ran on this machine and is dead. False: it lives, or nobody here knows."""
        if owner == self.name or "/" in owner:
            return False
        try:
            with FileIO(self._folder / owner) as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:  # no such file here, or locked by a living process
            return False
        return True
