"""An issuer of OpenID Connect in a process of its own: signs tokens, rotates keys, and misbehaves when it is told to.

``python -m tests.issuer`` writes the address that it answers at, and ends with its standard input. Beside the two
documents of an issuer there are doors for tests: ``/token`` signs whatever claims are posted, ``/control`` changes how it
behaves.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parent.parent
SECONDS = 60
WEAK, GARBAGE = "weak", "garbage"


class Issuer:
    """The process, as tests see it."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.issuer"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url.startswith("http://"), "the issuer did not start"

    def provider(self, kind: str = "oidc", **fields: Any) -> dict[str, Any]:
        """What ``auth_config`` says of it."""
        if kind == "oidc":
            return {"domain": self.url, "application_id": "app", **fields}
        return {"type": "customJwt", "issuer": self.url, "jwks": f"{self.url}/jwks", "algorithm": "ES256", **fields}

    def token(self, subject: str = "ada", seconds: float = 600, **claims: Any) -> str:
        """A token that is as it should be, but for what ``claims`` say; None leaves one out."""
        now = int(time.time())
        said = {"iss": self.url, "sub": subject, "aud": "app", "iat": now, "exp": now + seconds, **claims}
        return self.sign({name: value for name, value in said.items() if value is not None})

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """Sign any claims with its newest key; ``alg`` is RS256 unless it is said."""
        return self._ask("/token", {"claims": claims, "header": header})["token"]

    def control(self, **how: Any) -> None:
        """Behave otherwise: ``mode`` (ok, down, slow, giant, redirect, garbage), ``rotate``, ``target``, ``max_age``."""
        self._ask("/control", how)

    def hits(self) -> dict[str, int]:
        """How often each document was asked for."""
        return self._ask("/hits", {})

    def keys(self) -> dict[str, Any]:
        """Its secrets: private keys in PEM by algorithm, and the public RSA key."""
        return self._ask("/secrets", {})

    def _ask(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(self.url + path, json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return json.loads(answer.read())

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(SECONDS)
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve() -> None:
    import jwt
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    from tornado.web import Application, RequestHandler

    state: dict[str, Any] = {"mode": "ok", "target": "", "max_age": None, "number": 0, "hits": {}}

    def rotate() -> None:
        state["number"] += 1
        state["RS256"] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        state["ES256"] = ec.generate_private_key(ec.SECP256R1())

    def public(algorithm: str) -> dict[str, Any]:
        converter = jwt.algorithms.RSAAlgorithm if algorithm == "RS256" else jwt.algorithms.ECAlgorithm
        data = converter.to_jwk(state[algorithm].public_key(), as_dict=True)
        return {**data, "kid": f"{algorithm}-{state['number']}", "alg": algorithm, "use": "sig"}

    class Handler(RequestHandler):
        def prepare(self) -> None:
            self.set_header("Access-Control-Allow-Origin", "*")
            self.set_header("Access-Control-Allow-Headers", "*")
            name = self.request.path.rpartition("/")[2]
            state["hits"][name] = state["hits"].get(name, 0) + 1

        def options(self, *_: str) -> None:
            self.set_status(204)

        async def get(self, what: str) -> None:
            mode = state["mode"]
            if mode == "slow":
                await asyncio.sleep(SECONDS)
            if mode == "down":
                self.set_status(503)
                return
            if mode == "redirect":
                self.redirect(state["target"])
                return
            if mode == "giant":
                self.set_header("Content-Type", "application/json")
                self.write('{"keys": [')
                for _ in range(100):
                    self.write(json.dumps({"kty": "RSA", "n": "A" * (1 << 20), "e": "AQAB"}) + ",")
                    await self.flush()
                self.finish("{}]}")
                return
            if state["max_age"] is not None:
                self.set_header("Cache-Control", f"public, max-age={state['max_age']}")
            if what == "jwks":
                keys: list[Any] = [public("RS256"), public("ES256")]
                if mode == "garbage":
                    broken = [{**keys[0], "n": value} for value in ("", "AQ", "!!!", 5, None, "A" * 2000)]
                    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
                    small = jwt.algorithms.RSAAlgorithm.to_jwk(weak, as_dict=True)
                    keys = [None, 7, {}, *broken, {**small, "kid": WEAK, "alg": "RS256"}, {**keys[1], "x": "AA"}, *keys]
                self.finish({"keys": keys})
                return
            uri = state["target"] if mode == "elsewhere" else f"{url}/jwks"
            issuer = "https://somebody.example" if mode == "another" else url
            self.finish({"issuer": issuer, "jwks_uri": uri})

        def post(self, what: str) -> None:
            body = json.loads(self.request.body)
            if what == "control":
                if body.pop("rotate", False):
                    rotate()
                state.update(body)
                self.finish({})
            elif what == "hits":
                self.finish(state["hits"])
            elif what == "secrets":
                secrets: dict[str, Any] = {
                    name: state[name]
                    .private_bytes(
                        serialization.Encoding.PEM,
                        serialization.PrivateFormat.PKCS8,
                        serialization.NoEncryption(),
                    )
                    .decode()
                    for name in ("RS256", "ES256")
                }
                pem = (
                    state["RS256"]
                    .public_key()
                    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
                )
                self.finish({**secrets, "public": pem.decode(), "jwk": public("RS256"), "jwk_ec": public("ES256")})
            else:
                header = {"alg": "RS256", **body["header"]}
                algorithm = header.pop("alg")
                header.setdefault("kid", f"{algorithm}-{state['number']}")
                self.finish({"token": jwt.encode(body["claims"], state[algorithm], algorithm, header)})

    async def main() -> None:
        nonlocal url
        sockets = bind_sockets(0, "127.0.0.1")
        url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        application = Application(
            [(r"/\.well-known/(openid-configuration)", Handler), (r"/([a-z]+)", Handler)], log_function=lambda _: None
        )
        HTTPServer(application).add_sockets(sockets)
        print(url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

    url = ""
    rotate()
    asyncio.run(main())


if __name__ == "__main__":
    _serve()
