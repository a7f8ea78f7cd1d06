"""The workers of one supervisor tell each other their metrics, so that whichever is asked tells of all.

Each listens on a socket in a folder that the supervisor made for them, and answers whoever connects with its own
exposition. A sample of several workers has the label `process`, a process id: nothing is added up here.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_ANSWER_S = 5.0


class Siblings:
    """This worker among its siblings; without a `folder` it has none. A context manager: in it, others hear of us."""

    def __init__(self, folder: Path | None, own: Callable[[], bytes]) -> None:
        """`own` is the exposition of this process."""
        self._folder = folder
        self._own = own
        self._name = str(os.getpid())
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        if self._folder is not None:
            self._server = await asyncio.start_unix_server(self._answer, self._folder / self._name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None and self._server is not None:
            self._server.close()
            (self._folder / self._name).unlink(missing_ok=True)

    async def exposition(self) -> bytes:
        """The metrics of all of us, in Prometheus' text format."""
        own = self._own()
        if self._folder is None:
            return own
        async with asyncio.TaskGroup() as group:
            names = sorted(path.name for path in self._folder.iterdir() if path.name != self._name)
            asked = {name: group.create_task(self._ask(name)) for name in names}
        told = {self._name: own} | {name: answer for name, task in asked.items() if (answer := task.result())}
        return await asyncio.to_thread(merged, told)

    async def _ask(self, name: str) -> bytes:
        """What a sibling tells; nothing if it is dead or too busy."""
        assert self._folder is not None, "because: only who has a folder asks"
        place = self._folder / name
        try:
            async with asyncio.timeout(_ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(place)
                try:
                    return await reader.read(-1)
                finally:
                    writer.close()
        except ConnectionRefusedError:  # it was killed
            place.unlink(missing_ok=True)
        except (OSError, TimeoutError):
            pass
        return b""

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_ANSWER_S):
                writer.write(self._own())
                await writer.drain()
        writer.close()


def merged(told: Mapping[str, bytes]) -> bytes:
    """One exposition of several, each sample with the label `process`."""
    families: dict[str, Metric] = {}
    for process, exposition in told.items():
        for family in text_string_to_metric_families(exposition.decode()):
            whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                whole.add_sample(sample.name, {**sample.labels, "process": process}, sample.value)
    registry = CollectorRegistry()
    registry.register(_Collected(families.values()))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterable[Metric]:
        return self._families
