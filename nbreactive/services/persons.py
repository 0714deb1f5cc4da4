"""How a person is shown to others: a name, initials, a colour; made of the identity with which they came.

Others see no more of an identity than this: no address, no token, no subject. ``user`` is a hash of issuer and subject:
the same person has the same one everywhere, in all tabs and rooms.
"""

from __future__ import annotations

import colorsys
import unicodedata
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import msgspec

_NAMES: Final = ("name", "preferredUsername", "preferred_username", "nickname", "givenName", "given_name")
_PICTURES: Final = ("pictureUrl", "picture", "avatar_url")
_LONGEST_NAME: Final = 100
_LONGEST_PICTURE: Final = 2000
_CONTRAST: Final = 4.5
"""Of white letters on the colour, as WCAG AA asks for."""


class Person(msgspec.Struct, frozen=True):
    """What others see of somebody."""

    user: str
    name: str
    initials: str
    color: str
    picture: str | None = None
    guest: bool = False


def person_of(identity: Mapping[str, Any] | None, guest: bytes) -> Person:
    """Return what others see of whoever has ``identity``; nobody in particular is the guest of that number.

    Examples
    --------
    >>> ada = person_of({"issuer": "jupyter", "subject": "ada", "name": "Ada Lovelace"}, b"")
    >>> ada.name, ada.initials, ada.guest
    ('Ada Lovelace', 'AL', False)
    >>> person_of(None, b"1").name
    'Guest'
    """
    if identity is None:
        user = guest.hex()
        return Person(user, "Guest", "G", color_of(user), None, guest=True)
    user = blake2b(
        msgspec.msgpack.encode((str(identity.get("issuer", "")), str(identity.get("subject", "")))), digest_size=8
    ).hexdigest()
    name = next((text for key in _NAMES if (text := _shown(identity.get(key)))), "")
    if not name and str(identity.get("issuer", "")).startswith("jupyter"):  # whose subjects are names of users
        name = _shown(identity.get("subject"))
    name = name or "Somebody"
    return Person(user, name, initials_of(name), color_of(user), _picture(identity))


def initials_of(name: str) -> str:
    """Return the first letters of the first and the last word.

    Examples
    --------
    >>> [initials_of(name) for name in ("Ada Lovelace", "grace", "Juan de la Cruz", "김민준", "...")]
    ['AL', 'G', 'JC', '김', '?']
    """
    words = [letters[0] for word in name.split() if (letters := [c for c in word if c.isalnum()])]
    return "".join(words[:1] + words[1:][-1:]).upper()[:2] or "?"


def color_of(text: str) -> str:
    """Return a colour that ``text`` always has, on which white letters can be read.

    Examples
    --------
    >>> color_of("ada") == color_of("ada"), color_of("ada") == color_of("grace"), len(color_of("ada"))
    (True, False, 7)
    """
    digest = blake2b(text.encode(), digest_size=4).digest()
    hue = int.from_bytes(digest[:2], "big") / 65536
    lightness = 0.5
    while True:
        rgb = colorsys.hls_to_rgb(hue, lightness, 0.45 + digest[2] / 640)
        if 1.05 / (_luminance(rgb) + 0.05) >= _CONTRAST:
            return "#" + "".join(f"{round(part * 255):02x}" for part in rgb)
        lightness -= 0.02


def _luminance(rgb: tuple[float, float, float]) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _shown(value: object) -> str:
    """A name in one line, without what would turn the text around it."""
    if not isinstance(value, str):
        return ""
    kept = "".join(c for c in value[: 4 * _LONGEST_NAME] if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co"))
    return " ".join(kept.split())[:_LONGEST_NAME]


def _picture(identity: Mapping[str, Any]) -> str | None:
    given = next((identity[key] for key in _PICTURES if identity.get(key)), None)
    good = isinstance(given, str) and given.startswith("https://") and len(given) <= _LONGEST_PICTURE
    return given if good else None
