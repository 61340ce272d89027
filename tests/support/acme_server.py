"""A small ACME server over TLS (RFC 8555): accounts with external binding, orders, challenges, certificates.

Every request's JWS is checked by hand (RFC 7515, ES256), so that the client's library is not its own judge: signature,
nonce used once, the address that it was sent to, the key for a new account and the account for all else.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from tests.support.csrs import Ca, key, name, pem, request, secret_pem

ERROR = "urn:ietf:params:acme:error:"
JSON, PROBLEM, CHAIN = "application/json", "application/problem+json", "application/pem-certificate-chain"


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Refused(Exception):
    """A problem of ACME."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code = status, code


@dataclass
class Order:
    name: str
    account: str
    proven: bool
    token: str
    status: str = "pending"
    challenge: str = "pending"
    problem: dict[str, Any] | None = None
    chain: str = ""
    polls: int = 0


@dataclass
class AcmeServer:
    """`authorized`: names need no proof. `binding`: key id and key that an account must be bound by. `offered`: its
    challenges, whose proofs lie in the folder `proofs`. `processing`: so often an order is not finished yet.
    `bad_nonces`: so many are refused. `instead`: what an endpoint answers whatever it is asked. `revoked`: serial
    numbers with reasons."""

    ca: Ca
    authorized: bool = True
    binding: tuple[str, bytes] | None = None
    offered: tuple[str, ...] = ("dns-01", "http-01")
    proofs: Path | None = None
    processing: int = 0
    bad_nonces: int = 0
    organization: str | None = "Operator"
    instead: dict[str, Answer] = field(default_factory=dict)
    base: str = ""
    asked: list[str] = field(default_factory=list)
    accounts: dict[str, dict[str, str]] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    nonces: set[str] = field(default_factory=set)
    revoked: list[tuple[int, int]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.base}/directory"

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        endpoint, _, number = path.lstrip("/").partition("/")
        self.asked.append(endpoint)
        if endpoint in self.instead:
            return self._with_nonce(self.instead[endpoint])
        try:
            if method != "POST":
                return self._with_nonce(self._get(endpoint))
            header, payload, account = self._opened(path, json.loads(body))
            return self._with_nonce(self._post(endpoint, number, header, payload, account))
        except Refused as refused:
            problem = {"type": ERROR + refused.code, "detail": str(refused), "status": refused.status}
            said = json.dumps(problem).encode()
            return self._with_nonce(Answer(refused.status, said, (("Content-Type", PROBLEM),)))

    def _with_nonce(self, answer: Answer) -> Answer:
        nonce = secrets.token_urlsafe(12)
        self.nonces.add(nonce)
        return answer._replace(headers=(*answer.headers, ("Replay-Nonce", nonce)))

    def _get(self, endpoint: str) -> Answer:
        if endpoint == "nonce":
            return Answer(200)
        assert endpoint == "directory", endpoint
        made = {
            "newNonce": f"{self.base}/nonce",
            "newAccount": f"{self.base}/account",
            "newOrder": f"{self.base}/order",
            "revokeCert": f"{self.base}/revoke",
            "meta": {"externalAccountRequired": self.binding is not None},
        }
        return _json(200, made)

    def _post(self, endpoint: str, number: str, header: dict[str, Any], payload: Any, account: str) -> Answer:
        if endpoint == "account":
            return self._account(header["jwk"], payload)
        if endpoint == "order" and not number:
            return self._new_order(payload, account)
        if endpoint == "revoke":
            return self._revoke(payload, account)
        order = self.orders[int(number.partition("/")[0])]
        if order.account != account:
            raise Refused(403, "unauthorized", "another account's")
        at = self.orders.index(order)
        match endpoint:
            case "order":
                assert payload is None, "POST-as-GET"
                order.polls += order.status == "processing"
                if order.status == "processing" and order.polls > self.processing:
                    order.status = "valid"
                return _json(200, self._order(order, at))
            case "authz":
                assert payload is None, "POST-as-GET"
                return _json(200, self._authorization(order, at))
            case "challenge":
                return self._prove(order, at, number.partition("/")[2])
            case "finalize":
                return self._finalize(order, at, payload)
            case "certificate":
                return Answer(200, order.chain.encode(), (("Content-Type", CHAIN),))
        raise AssertionError(endpoint)

    # JWS

    def _opened(self, path: str, jws: dict[str, str]) -> tuple[dict[str, Any], Any, str]:
        """Header, payload (None: POST-as-GET) and account ("" for a new one) of a request that is in order."""
        header = json.loads(_decoded(jws["protected"]))
        assert header["alg"] == "ES256"
        assert ("jwk" in header) is (path == "/account"), "a new account by its key, all else by the account"
        assert ("kid" in header) is not ("jwk" in header)
        if header["url"] != self.base + path:
            raise Refused(403, "unauthorized", "sent to another address")
        jwk = header["jwk"] if "jwk" in header else self._known(header["kid"])
        if not _signed(jwk, jws):
            raise Refused(403, "unauthorized", "the signature is wrong")
        if header["nonce"] not in self.nonces or self.bad_nonces > 0:
            self.bad_nonces -= 1
            raise Refused(400, "badNonce", "used, or never given")
        self.nonces.remove(header["nonce"])
        text = _decoded(jws["payload"])
        return header, json.loads(text) if text else None, header.get("kid", "")

    def _known(self, kid: str) -> dict[str, str]:
        if kid not in self.accounts:
            raise Refused(400, "accountDoesNotExist", "no such account")
        return self.accounts[kid]

    # Accounts

    def _account(self, jwk: dict[str, str], payload: dict[str, Any]) -> Answer:
        assert payload["termsOfServiceAgreed"] is True
        for kid, known in self.accounts.items():
            if known == jwk:
                return _json(200, {"status": "valid"}, ("Location", kid))
        if self.binding is not None:
            self._check_binding(jwk, payload.get("externalAccountBinding"))
        kid = f"{self.base}/account/{len(self.accounts)}"
        self.accounts[kid] = jwk
        return _json(201, {"status": "valid"}, ("Location", kid))

    def _check_binding(self, jwk: dict[str, str], bound: dict[str, str] | None) -> None:
        assert self.binding is not None
        if bound is None:
            raise Refused(403, "externalAccountRequired", "who are you?")
        kid, secret = self.binding
        header = json.loads(_decoded(bound["protected"]))
        assert (header["alg"], header["url"]) == ("HS256", f"{self.base}/account")
        signed = hmac.digest(secret, f"{bound['protected']}.{bound['payload']}".encode(), "sha256")
        if header["kid"] != kid or not hmac.compare_digest(signed, _decoded(bound["signature"])):
            raise Refused(403, "unauthorized", "the binding is wrong")
        assert json.loads(_decoded(bound["payload"])) == jwk

    # Orders

    def _new_order(self, payload: dict[str, Any], account: str) -> Answer:
        (wanted,) = payload["identifiers"]
        assert wanted["type"] == "dns"
        status = "ready" if self.authorized else "pending"
        self.orders.append(Order(wanted["value"], account, self.authorized, secrets.token_urlsafe(16), status))
        at = len(self.orders) - 1
        return _json(201, self._order(self.orders[at], at), ("Location", f"{self.base}/order/{at}"))

    def _order(self, order: Order, at: int) -> dict[str, Any]:
        made: dict[str, Any] = {
            "status": order.status,
            "identifiers": [{"type": "dns", "value": order.name}],
            "authorizations": [f"{self.base}/authz/{at}"],
            "finalize": f"{self.base}/finalize/{at}",
        }
        if order.status == "valid":
            made["certificate"] = f"{self.base}/certificate/{at}"
        if order.status == "invalid" and order.problem is not None:
            made["error"] = order.problem
        return made

    def _authorization(self, order: Order, at: int) -> dict[str, Any]:
        failed = order.challenge == "invalid"
        return {
            "status": "valid" if order.proven else "invalid" if failed else "pending",
            "identifier": {"type": "dns", "value": order.name},
            "challenges": [self._challenge(order, at, kind) for kind in self.offered],
        }

    def _challenge(self, order: Order, at: int, kind: str) -> dict[str, Any]:
        made: dict[str, Any] = {
            "type": kind,
            "url": f"{self.base}/challenge/{at}/{kind}",
            "token": order.token,
            "status": "valid" if order.proven else order.challenge,
        }
        return made | ({"error": order.problem} if order.challenge == "invalid" and order.problem else {})

    def _prove(self, order: Order, at: int, kind: str) -> Answer:
        """Look where the proof is to be, as a DNS or HTTP client would."""
        expected = f"{order.token}.{_thumbprint(self.accounts[order.account])}"
        where = self.proofs / (f"_acme-challenge.{order.name}" if kind == "dns-01" else order.token)  # type: ignore[operator]
        if kind == "dns-01":
            expected = _encoded(hashlib.sha256(expected.encode()).digest())
        order.proven = where.exists() and where.read_text() == expected
        order.challenge = "valid" if order.proven else "invalid"
        order.status = "ready" if order.proven else "invalid"
        if not order.proven:
            order.problem = {"type": ERROR + "unauthorized", "detail": "nothing there"}
        up = ("Link", f'<{self.base}/authz/{at}>;rel="up"')
        return _json(200, self._challenge(order, at, kind), up)

    def _finalize(self, order: Order, at: int, payload: dict[str, str]) -> Answer:
        if order.status != "ready":
            raise Refused(403, "orderNotReady", "not proven")
        csr = x509.load_der_x509_csr(_decoded(payload["csr"]))
        (asked,) = csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if not csr.is_signature_valid or asked.value != order.name:
            raise Refused(400, "badCSR", "not what was ordered")
        leaf = self.ca.issue(csr, subject=name(order.name, self.organization))
        order.chain = pem(leaf) + "".join(map(pem, self.ca.chain[:-1]))
        order.status = "processing" if self.processing else "valid"
        return _json(200, self._order(order, at))

    def _revoke(self, payload: dict[str, Any], account: str) -> Answer:
        """By the account that ordered it (RFC 8555, 7.6)."""
        certificate = x509.load_der_x509_certificate(_decoded(payload["certificate"]))
        text = pem(certificate)
        if not any(order.account == account and order.chain.startswith(text) for order in self.orders):
            raise Refused(403, "unauthorized", "not ordered by you")
        if any(certificate.serial_number == serial for serial, _ in self.revoked):
            raise Refused(400, "alreadyRevoked", "it is")
        self.revoked.append((certificate.serial_number, payload["reason"]))
        return Answer(200)


@asynccontextmanager
async def acme_server(place: Path, served: AcmeServer) -> AsyncIterator[Path]:
    """Serve it on a free port until the block ends; the file of the CA of its own certificate."""
    root, secret = Ca("ACME server's root"), key()
    (place / "acme-root.pem").write_text(pem(root.certificate))
    extensions = [x509.SubjectAlternativeName([x509.DNSName("localhost")])]
    certificate = root.issue(request("localhost", "Test", secret), extensions=extensions)
    (place / "acme-server.pem").write_text(secret_pem(secret) + pem(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "acme-server.pem")

    open_: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_.add(task)
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                first, *lines = head.strip().split("\r\n")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                method, path, _ = first.split(" ")
                said = served.answer(method, path, body)
                more = "".join(f"{name}: {value}\r\n" for name, value in said.headers)
                top = f"HTTP/1.1 {said.status} X\r\nContent-Length: {len(said.body)}\r\n{more}\r\n"
                writer.write(top.encode() + said.body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            open_.discard(task)

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        served.base = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        yield place / "acme-root.pem"
        for task in open_:
            task.cancel()
        await asyncio.gather(*open_)


def _json(status: int, content: object, *headers: tuple[str, str]) -> Answer:
    return Answer(status, json.dumps(content).encode(), (("Content-Type", JSON), *headers))


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _thumbprint(jwk: dict[str, str]) -> str:
    """RFC 7638."""
    needed = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    return _encoded(hashlib.sha256(json.dumps(needed, separators=(",", ":")).encode()).digest())


def _signed(jwk: dict[str, str], jws: dict[str, str]) -> bool:
    assert (jwk["kty"], jwk["crv"]) == ("EC", "P-256")
    x, y = (int.from_bytes(_decoded(jwk[name])) for name in ("x", "y"))
    raw = _decoded(jws["signature"])
    assert len(raw) == 64
    signature = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    try:
        public.verify(signature, f"{jws['protected']}.{jws['payload']}".encode(), ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True
