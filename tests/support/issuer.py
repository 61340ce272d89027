"""An OpenID Connect issuer for tests: a real HTTP server with discovery and a JWKS, and a pen to sign anything with."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "csms-of-these-tests"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass
class Pen:
    """A key pair: signs tokens, and its public half stands in a JWKS under `kid`."""

    kid: str
    algorithm: str
    private: PrivateKey

    @property
    def jwk(self) -> dict[str, Any]:
        public: Any = self.private.public_key()
        made: Any = {"RS": RSAAlgorithm, "PS": RSAAlgorithm, "ES": ECAlgorithm, "Ed": OKPAlgorithm}[self.algorithm[:2]]
        return {**made.to_jwk(public, as_dict=True), "kid": self.kid, "use": "sig", "alg": self.algorithm}

    def sign(self, claims: Mapping[str, Any], headers: Mapping[str, Any] | None = None) -> str:
        """With these headers too; None takes one away."""
        named = {name: value for name, value in {"kid": self.kid, **(headers or {})}.items() if value is not None}
        return jwt.encode(dict(claims), self.private, algorithm=self.algorithm, headers=named)


def pen(kid: str, algorithm: str = "ES256") -> Pen:
    """A new one."""
    private: PrivateKey
    if algorithm.startswith("ES"):
        private = ec.generate_private_key({"256": ec.SECP256R1(), "384": ec.SECP384R1()}[algorithm[2:]])
    elif algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    else:
        private = rsa.generate_private_key(65537, 2048)
    return Pen(kid, algorithm, private)


@dataclass
class Issuer:
    """`pens`: whose keys its JWKS holds; the first one signs. `asked`: the paths that were asked for, in order.

    `broken`: it answers 500. `said`: other answers, by path.
    """

    url: str = ""
    pens: list[Pen] = field(default_factory=lambda: [pen("first")])
    asked: list[str] = field(default_factory=list)
    broken: bool = False
    said: dict[str, bytes] = field(default_factory=dict)

    def rotate(self, algorithm: str = "ES256") -> None:
        """Another key signs from now on, and is the only one."""
        self.pens = [pen(f"key-{time.monotonic_ns()}", algorithm)]

    def claims(self, **more: Any) -> dict[str, Any]:
        """What a good token claims, and more; None takes a claim away."""
        now = int(time.time())
        good = {"iss": self.url, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 3600, "roles": ["viewer"]}
        return {name: value for name, value in (good | more).items() if value is not None}

    def token(self, **claims: Any) -> str:
        return self.pens[0].sign(self.claims(**claims), {"typ": "at+jwt"})

    def answer(self, path: str) -> tuple[int, bytes]:
        self.asked.append(path)
        if self.broken:
            return 500, b"{}"
        if path in self.said:
            return 200, self.said[path]
        if path == "/.well-known/openid-configuration":
            return 200, json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}).encode()
        if path == "/keys":
            return 200, json.dumps({"keys": [one.jwk for one in self.pens]}).encode()
        return 404, b"{}"

    def settings(self, **more: str) -> dict[str, str]:
        """The environment of a system that takes its tokens."""
        return {
            "CSMS_OIDC_ISSUERS": self.url,
            "CSMS_OIDC_AUDIENCE": AUDIENCE,
            "CSMS_OIDC_STATIONS_CLAIM": "csms_stations",
            **more,
        }


@contextmanager
def serving(issuer: Issuer) -> Iterator[Issuer]:
    """On a port of its own until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = issuer.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Tests say themselves what they need to know."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
