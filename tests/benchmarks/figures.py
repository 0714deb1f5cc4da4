"""A measured figure beside its floor and its gate, and how a table of them is printed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line of the table; ``gate`` bounds the ratio (or the figure, where there is no floor)."""

    workload: str
    name: str
    value: float
    unit: str
    gate: float
    floor: float | None = None
    at_least: bool = False
    goal: float | None = None

    @property
    def ratio(self) -> float:
        """Figure over floor; the figure itself where there is no floor."""
        return self.value / self.floor if self.floor else self.value

    @property
    def held(self) -> bool:
        """Whether the gate holds."""
        return self.ratio >= self.gate if self.at_least else self.ratio <= self.gate

    def as_json(self) -> str:
        """One JSON line."""
        record = {
            "workload": self.workload,
            "figure": self.name,
            "value": round(self.value, 4),
            "unit": self.unit,
            "floor": self.floor and round(self.floor, 4),
            "ratio": round(self.ratio, 3),
            "gate": f"{'>=' if self.at_least else '<='} {self.gate:g}",
            "goal": self.goal,
            "held": self.held,
        }
        return json.dumps(record)


def table(figures: Iterable[Figure]) -> str:
    """The figures as aligned text."""
    rows = [("workload", "figure", "value", "unit", "floor", "ratio", "gate", "held")]
    for figure in figures:
        gate = f"{'>=' if figure.at_least else '<='} {figure.gate:g}"
        if figure.goal is not None:
            gate += f" (goal {figure.goal:g})"
        rows.append(
            (
                figure.workload,
                figure.name,
                f"{figure.value:,.3f}",
                figure.unit,
                f"{figure.floor:,.3f}" if figure.floor else "-",
                f"{figure.ratio:.2f}" if figure.floor else "-",
                gate,
                "yes" if figure.held else "NO",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
