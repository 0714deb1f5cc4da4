"""Where a deploy says that something is wrong."""

from __future__ import annotations

import re

from nbreactive.errors import DeployRefused
from nbreactive.notebook.errors_view import error_text, quote


def shown(error: DeployRefused) -> list[str]:
    return re.sub(r"\x1b\[\d+m", "", error_text(error)).split("\n")


def test_a_line_of_a_cell_is_shown_with_its_neighbours_and_a_mark() -> None:
    cell = "%%reactive deploy m\na = 1\n\tb = käse\nc = 3\n"
    error = DeployRefused("no", [{"file": "reactive/m.py", "line": 2, "column": 6, "reason": "why", "fix": "so"}])
    quote(error, {"reactive/m.py": ("Cell In[7]", cell)})
    assert shown(error) == [
        "DeployRefused: no",
        "Cell In[7], line 3, column 6",
        "       1 %%reactive deploy m",
        "       2 a = 1",
        "-----> 3     b = käse",
        "                 ^^^^",
        "       4 c = 3",
        "    why",
        "    fix: so",
    ]


def test_a_line_of_a_file_is_a_path_that_front_ends_link() -> None:
    issue = {"file": "reactive/m.py", "line": 1, "column": 3, "reason": "why"}
    error = DeployRefused("no", [issue, {"file": "reactive/other.py", "line": 2, "reason": "too"}])
    quote(error, {"reactive/m.py": ("./reactive/m.py", "a @@ b")})
    text = shown(error)
    assert text[1:4] == ["./reactive/m.py:1:3", "-----> 1 a @@ b", "           ^"]
    assert text[5:] == ["reactive/other.py:2", "    too"]


def test_what_people_wrote_cannot_colour_the_terminal_and_is_not_endless() -> None:
    issues = [{"file": "reactive/m.py", "line": 1, "column": 1, "reason": "a\x1b[31mb"} for _ in range(30)]
    error = DeployRefused("no", issues)
    quote(error, {"reactive/m.py": ("Cell In[1]", "%%reactive deploy m\nx = '\x1b[2J' + " + "y" * 1000)})
    text = "\n".join(shown(error))
    assert "\x1b" not in text and "\\u001b[2J" in text
    assert text.endswith("... and 10 more")
    assert max(map(len, text.split("\n"))) < 300
