"""A call's deadlines by name. Sans I/O: told the time, it tells what is due."""


class DeadlineTable:
    """At most one deadline a name; setting it again moves it."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def set(self, name: str, at: float) -> None:
        """`name` is due `at` (on the clock's scale)."""
        self._at[name] = at

    def clear(self, name: str) -> None:
        """Forget a deadline; nothing if there is none."""
        self._at.pop(name, None)

    def at(self, name: str) -> float | None:
        return self._at.get(name)

    def earliest(self) -> float | None:
        """When to look again; None: nothing is awaited."""
        return min(self._at.values(), default=None)

    def expire(self, now: float) -> str | None:
        """The earliest name whose time has come, which is forgotten by that; None if there is none.

        One at a time: what is done about the one may move or clear the next.
        """
        at, name = min(((at, name) for name, at in self._at.items()), default=(now, None))
        if name is None or at > now:
            return None
        del self._at[name]
        return name
