from __future__ import annotations

import pytest
from tornado.httputil import HTTPHeaders

from nbreactive.errors import Refused
from nbreactive.server.origins import OriginPolicy

LOCAL = OriginPolicy("127.0.0.1", ["https://trusted.example.com"])
OPEN = OriginPolicy("0.0.0.0", ["https://trusted.example.com"])


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:3000",
        "http://127.0.0.1:8888",
        "http://[::1]:5173",
        "https://trusted.example.com",
        "HTTPS://Trusted.Example.Com",
    ],
)
def test_pages_of_this_machine_and_named_ones_are_admitted(origin: str) -> None:
    LOCAL.check(HTTPHeaders({"Host": "127.0.0.1:3210", "Origin": origin}), websocket=True)


@pytest.mark.parametrize(
    "origin",
    [
        "https://trusted.example.com.evil.com",
        "https://eviltrusted.example.com",
        "http://trusted.example.com",
        "https://trusted.example.com:444",
        "https://trusted.example.com@evil.com",
        "null",
        "",
        "file://",
        "http://localhost.evil.com",
        "http://127.0.0.1.evil.com",
        "http://127.0.0.1@evil.com",
        "chrome-extension://abcdef",
        "http://[::1",
    ],
)
def test_other_pages_are_refused_case_3(origin: str) -> None:
    for policy, host in ((LOCAL, "127.0.0.1:3210"), (OPEN, "data.example.org")):
        with pytest.raises(Refused):
            policy.check(HTTPHeaders({"Host": host, "Origin": origin}), websocket=True)


def test_names_that_an_attacker_points_at_this_machine_are_refused() -> None:
    for headers in (
        {"Host": "evil.com:3210", "Origin": "http://evil.com:3210"},
        {"Host": "evil.com"},
        {"Host": ""},
        {"Host": "[::1"},
    ):
        with pytest.raises(Refused):
            LOCAL.check(HTTPHeaders(headers))
    LOCAL.check(HTTPHeaders({"Host": "trusted.example.com"}))


def test_a_server_on_a_network_admits_its_own_pages() -> None:
    OPEN.check(HTTPHeaders({"Host": "data.example.org:3210", "Origin": "https://data.example.org"}))
    with pytest.raises(Refused):
        OPEN.check(HTTPHeaders({"Host": "data.example.org:3210", "Origin": "http://localhost:3000"}))
    OriginPolicy("0.0.0.0", ["*"]).check(HTTPHeaders({"Host": "x", "Origin": "https://any.example"}))


def test_browsers_without_an_origin_case_3() -> None:
    browser = HTTPHeaders({"Host": "127.0.0.1", "User-Agent": "Mozilla/5.0 (X11)"})
    with pytest.raises(Refused):
        LOCAL.check(browser, websocket=True)
    LOCAL.check(browser)
    LOCAL.check(HTTPHeaders({"Host": "127.0.0.1", "User-Agent": "node"}), websocket=True)
    with pytest.raises(Refused):
        LOCAL.check(HTTPHeaders({"Host": "127.0.0.1", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}))
