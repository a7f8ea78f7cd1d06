"""What a benchmark found: tables for people, JSON for machines."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.machine import description

Cell = str | float | int | None


@dataclass
class Table:
    title: str
    columns: Sequence[str]
    rows: list[list[Cell]] = field(default_factory=list)

    def add(self, *cells: Cell) -> None:
        self.rows.append(list(cells))

    def text(self) -> str:
        """Columns aligned, the first one to the left."""
        lines = [list(map(str, self.columns)), *([_shown(cell) for cell in row] for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.columns))]
        texts = []
        for line in lines:
            cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
            cells[0] = line[0].ljust(widths[0])
            texts.append("  ".join(cells).rstrip())
        texts.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([self.title, *texts])


@dataclass
class Report:
    """One benchmark's tables, and what has to be known to read them."""

    name: str
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: str = field(default_factory=description)

    def table(self, title: str, *columns: str) -> Table:
        """A new table at the end."""
        table = Table(title, columns)
        self.tables.append(table)
        return table

    def text(self) -> str:
        parts = [f"{self.name}: {self.machine}", *(table.text() for table in self.tables)]
        if self.notes:
            parts.append("\n".join(f"* {note}" for note in self.notes))
        return "\n\n".join(parts)

    def json(self) -> str:
        return json.dumps(asdict(self), indent=2)


def against(measured: float | None, at_most: float) -> str:
    """The verdict on a figure that has a goal."""
    return "not measured" if measured is None else "reached" if measured <= at_most else "missed"


def quantile(values: Iterable[float], share: float) -> float | None:
    """By linear interpolation; None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    at = share * (len(ordered) - 1)
    below = int(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)


def _shown(cell: Cell) -> str:
    match cell:
        case None:
            return "-"
        case float():
            return f"{cell:.2f}" if abs(cell) < 10 else f"{cell:.1f}"
        case _:
            return str(cell)
