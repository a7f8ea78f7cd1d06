"""How full the buffers of many calls are."""

from collections.abc import Iterable, Mapping


def fullest(fills: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Of each buffer, by name, the fullest."""
    highest: dict[str, float] = {}
    for buffers in fills:
        for name, fill in buffers.items():
            highest[name] = max(fill, highest.get(name, 0.0))
    return highest
