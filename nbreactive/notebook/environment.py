"""``%reactive env``: names of environment variables, and setting them; no value ever reaches an output.

A value that is typed into the cell is saved with the notebook, so without one it is asked for, in a field that shows
nothing, or read from a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nbreactive.client.client import Client
from nbreactive.errors import ArgumentError

USAGE = (
    "env [set NAME [VALUE] | set NAME=VALUE | set --from-file .env | remove NAME]      (set NAME asks for the value)"
)


def environment(client: Client, words: list[str]) -> str:
    """Do what ``%reactive env WORDS`` says; returns what to show."""
    command = words[0] if words else "list"
    rest = words[1:]
    if command == "list" and not rest:
        return _list(client)
    if command == "set" and len(rest) == 1:
        return _set(client, rest[0])
    if command == "set" and len(rest) == 2 and rest[0] == "--from-file":
        return _set_from(client, Path(rest[1]).expanduser())
    if command == "set" and len(rest) == 2 and "=" not in rest[0]:
        return _set(client, f"{rest[0]}={rest[1]}")
    if command in ("remove", "rm", "unset") and len(rest) == 1:
        if rest[0] not in _names(client):
            raise ArgumentError(f"The environment variable {rest[0]} is not set: %reactive env lists those that are.")
        _change(client, {rest[0]: None})
        return f"removed {rest[0]} · live queries that read it ran again"
    raise ArgumentError(f"Usage: %reactive {USAGE}")


def _names(client: Client) -> list[str]:
    return [one["name"] for one in client.admin("GET", "environment")["variables"]]


def _list(client: Client) -> str:
    variables: list[dict[str, Any]] = client.admin("GET", "environment")["variables"]
    if not variables:
        return "no environment variables are set · %reactive env set NAME"
    return "\n".join(f"{one['name']} ({one['length']} character{'s' * (one['length'] != 1)})" for one in variables)


def _set(client: Client, setting: str) -> str:
    name, given, value = setting.partition("=")
    if not given:
        value = _ask(name)
    _change(client, {name: value})
    warning = (
        "\nthe value stands in this cell and is saved with the notebook: delete it there if it is a secret"
        f" (%reactive env set {name} asks for it instead)"
    )
    return f"set {name} · live queries that read it ran again" + warning * bool(given)


def _set_from(client: Client, file: Path) -> str:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ArgumentError(f"{file} cannot be read: {error.strerror}") from None
    values = dict(_parsed(file, number, line) for number, line in enumerate(lines, 1) if _says_something(line))
    _change(client, values)
    return f"set {', '.join(values)} · live queries that read them ran again" if values else f"{file} sets nothing"


def _change(client: Client, values: Mapping[str, str | None]) -> None:
    changes = [{"name": name, "value": value} for name, value in values.items()]
    client.admin("POST", "environment", {"changes": changes})


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _parsed(file: Path, number: int, line: str) -> tuple[str, str]:
    name, given, value = line.strip().removeprefix("export ").partition("=")
    if not given:
        raise ArgumentError(f"{file}, line {number}: write NAME=value")  # the line may be (part of) a secret
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    return name.strip(), value


def _ask(name: str) -> str:
    import getpass

    try:
        return getpass.getpass(f"value of {name}: ")
    except Exception as error:
        if type(error).__name__ != "StdinNotImplementedError":
            raise
        raise ArgumentError(
            f"This front end cannot ask for the value: %reactive env set --from-file .env reads it from a file with a"
            f" line {name}=..."
        ) from None


def words_of(rest: str, split: Callable[[str], list[str]]) -> list[str]:
    """Split the line; what is right of the first ``=`` is taken as it stands, if it is not quoted."""
    head, equals, value = rest.strip().partition("=")
    if equals and head.split()[:1] == ["set"] and value[:1] not in ("'", '"'):
        return [*head.split()[:-1], f"{head.split()[-1]}={value}"]
    return split(rest)
