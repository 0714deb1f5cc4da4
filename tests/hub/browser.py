"""A browser as far as the Hub's sign-in needs one: it follows redirects, keeps cookies, sends forms."""

from __future__ import annotations

import re
from typing import Self

import requests

VISIT = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}


class Browser:
    """One person's, not signed in yet."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()

    def visit(self, path: str) -> requests.Response:
        """Open a page."""
        return self.session.get(f"{self.url}{path}", headers=VISIT, timeout=60)

    def sign_in(self, name: str) -> requests.Response:
        """Fill in the Hub's form."""
        self.visit("/hub/login")
        form = {"username": name, "password": "any", "_xsrf": self.cookie("_xsrf", "/hub/")}
        return self.session.post(f"{self.url}/hub/login", form, headers=VISIT, timeout=60)

    def allow(self, page: requests.Response) -> requests.Response:
        """Let somebody else's server know who one is, on the Hub's page that asks for it."""
        assert "/oauth2/authorize" in page.url
        form = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text)
        return self.session.post(page.url, form, headers=VISIT, timeout=60)

    def cookie(self, name: str, path: str) -> str:
        """The cookie of that name that the pages of ``path`` are given."""
        return next(cookie.value or "" for cookie in self.session.cookies if (cookie.name, cookie.path) == (name, path))

    def cookies(self, path: str) -> str:
        """What is sent to the pages of ``path``."""
        found = [cookie for cookie in self.session.cookies if path.startswith(cookie.path)]
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in found)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()
