"""Keys for programs: each has a name and roles, is shown once, and can be revoked.

A key is 256 random bits behind ``nbr_``, by which scanners of published code know it. The data folder has hashes of keys
only, in ``keys.json``, and each deployment has a data folder of its own, so a key opens one deployment. (The admin key of
``admin.key`` is the one that keys are made with; it is not among them.)
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Literal, cast

import msgspec

from nbreactive.errors import DataFolderError, InvalidValue

Role = Literal["read", "write", "deploy", "admin"]
ROLES: Final[tuple[Role, ...]] = ("read", "write", "deploy", "admin")
PREFIX: Final = "nbr_"
FILE: Final = "keys.json"
_MOST: Final = 1000
_LONGEST_NAME: Final = 100


class Key(msgspec.Struct, frozen=True):
    """What is known of a key; not the key itself."""

    id: str
    """Names it to people."""
    name: str
    roles: tuple[Role, ...]
    """The lower ones included: whoever may deploy may write, whoever may write may read."""
    hash: str
    """SHA-256 of the key."""
    created_at: float
    """Milliseconds since the epoch."""
    created_by: str = ""

    def summary(self) -> dict[str, object]:
        """Return what people are shown."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if name != "hash"}


class _File(msgspec.Struct):
    version: int
    keys: list[Key]


class Keys:
    """The keys of one deployment.

    Parameters
    ----------
    folder
        Its data folder; None has no keys and makes none.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._keys: dict[str, Key] = {}
        self.on_revoked: Callable[[], None] = lambda: None
        if folder is not None and (folder / FILE).exists():
            self._keys = {key.hash: key for key in _read(folder / FILE)}

    def find(self, secret: str) -> Key | None:
        """Return what is known of a key; None: there is no such key (any more)."""
        return self._keys.get(_hash(secret)) if secret.startswith(PREFIX) else None

    def valid(self, id: str) -> bool:
        """Whether there is (still) a key of that id."""
        return any(key.id == id for key in self._keys.values())

    def list(self) -> list[Key]:
        """Return all keys, in the order in which they were made."""
        return sorted(self._keys.values(), key=lambda key: key.created_at)

    def create(self, name: str, roles: Iterable[str], by: str = "") -> tuple[Key, str]:
        """Make a key; returns what is kept of it, and the key itself, which nobody is told again."""
        wanted = set(roles)
        if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
            raise InvalidValue(
                f"a key has a name of 1 to {_LONGEST_NAME} printable characters, which says what it is for"
            )
        if not wanted or not wanted <= set(ROLES):
            raise InvalidValue(f"a key has one or more of the roles {', '.join(ROLES)}")
        if any(key.name == name for key in self._keys.values()):
            raise InvalidValue(f"there is a key called {name!r} already; choose another name, or revoke that one")
        if len(self._keys) >= _MOST:
            raise InvalidValue(f"there are {_MOST} keys, which is the most; revoke those that nobody uses")
        highest = max(ROLES.index(cast("Role", role)) for role in wanted)
        secret = PREFIX + secrets.token_urlsafe(32)
        hash_ = _hash(secret)
        key = Key(hash_[:12], name, ROLES[: highest + 1], hash_, float(time.time_ns() // 1_000_000), by)
        self._save({**self._keys, hash_: key})
        return key, secret

    def revoke(self, which: str) -> Key:
        """Forget a key, by its id or its name; it opens nothing from now on, and what it has opened is closed."""
        found = next((key for key in self._keys.values() if which in (key.id, key.name)), None)
        if found is None:
            known = ", ".join(f"{key.id} ({key.name})" for key in self.list()) or "none"
            raise InvalidValue(f"there is no key {which[:_LONGEST_NAME]!r}; there are: {known}")
        self._save({hash_: key for hash_, key in self._keys.items() if key is not found})
        self.on_revoked()
        return found

    def _save(self, keys: dict[str, Key]) -> None:
        if self._folder is None:
            raise InvalidValue("this deployment keeps no keys")
        data = msgspec.json.encode(_File(1, list(keys.values())))
        draft = self._folder / f"{FILE}.new"
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._folder / FILE)
        self._keys = keys


def _read(path: Path) -> list[Key]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File).keys
    except (OSError, msgspec.MsgspecError) as error:
        raise DataFolderError(
            f"the keys in {path} cannot be read: {error}; restore the file, or remove it with all keys"
        ) from None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
