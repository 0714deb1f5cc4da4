"""Documents from CSV: what is not a table with one value for each column is refused, with its line, rather than guessed at."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbreactive.errors import InvalidValue

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def read_csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield documents, with the bytes that each takes, about.

    The first line names the fields; what reads as a number is one, and what is empty is left out.

    Raises
    ------
    InvalidValue
        A quote that is not closed, a row with more or fewer values than there are names, a name that is missing or there
        twice: whatever was read, something else may be meant.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, strict=True)
        line = 1
        try:
            names = next(rows, None)
            _check_names(names, path.name)
            assert names is not None
            line = rows.line_num + 1
            for row in rows:
                if row and len(row) != len(names):
                    raise InvalidValue(
                        f"it has {len(row)} values, and line 1 names {len(names)}; quote values with commas in them",
                        f"{path.name} line {line}",
                    )
                if row:
                    doc = {name: _cell(text) for name, text in zip(names, row, strict=True) if text}
                    yield sum(map(len, row)), doc
                line = rows.line_num + 1
        except (UnicodeDecodeError, csv.Error) as error:
            raise InvalidValue(
                f"the row that begins there cannot be read ({error}); a quote inside of a quoted value is written twice",
                f"{path.name} line {line}",
            ) from None


def _check_names(names: list[str] | None, file: str) -> None:
    if not names:
        raise InvalidValue("it names no fields", f"{file} line 1")
    for number, name in enumerate(names, 1):
        if not name:
            raise InvalidValue(f"the column {number} has no name; name it, or remove the column", f"{file} line 1")
        if name in names[: number - 1]:
            raise InvalidValue(f"the column {name!a} is there twice; rename one, or remove it", f"{file} line 1")


def _cell(text: str) -> Any:
    if _NUMBER.fullmatch(text) is None:
        return text
    number = float(text)
    return number if math.isfinite(number) else text
