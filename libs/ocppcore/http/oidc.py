"""Bearer tokens of OpenID Connect issuers (RFC 9068, RFC 8725): who calls, as the issuer says and its key proves.

An issuer is known by discovery (OpenID Connect Discovery 1.0) and its JWKS. Its keys are kept and read again in the
background, so that a token signed with a known key costs no network. A key that is not known is looked for at once, by
one reading for all who wait, and seldom. While an issuer cannot be reached its keys count for a bounded time; nobody is
let in for want of an answer.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import httpx
import jwt
import orjson
import structlog

from ocppcore.bounded import TooLong, whole
from ocppcore.contracts.auth import Scope
from ocppcore.http.problems import Problem
from ocppcore.http.reach import SCOPES, Caller, InvalidPattern, read_patterns
from ocppcore.settings import BaseServiceSettings, SettingsError

ALGORITHMS: Final[Mapping[str, tuple[str, ...]]] = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
"""By type of key. Asymmetric ones only: with `none` or a shared secret whoever can check could also forge."""
ALLOWED: Final = tuple(algorithm for some in ALGORITHMS.values() for algorithm in some)
TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""Of the header's `typ`, if it has one: a logout token or a proof of possession is no access token."""
TOKEN_CHARACTERS_MAX: Final = 16_384
SUBJECT_CHARACTERS_MAX: Final = 255
ANSWER_BYTES_MAX: Final = 262_144
KEYS_MAX: Final = 100
RSA_BITS: Final = range(2048, 8193)
FETCH_WITHIN_S: Final = 5.0
REFRESH_S: Final = 300.0
REFRESH_AGAIN_S: Final = 5.0
"""The least time between two readings of an issuer's keys, whoever asks."""

Fetch = Callable[[str], Awaitable[bytes]]
"""The body of a 200 answer to GET; raises IssuerUnreachable."""

logger = structlog.get_logger(__name__)


class IssuerUnreachable(Exception):
    """The issuer did not answer as an issuer does. The message names the address and holds no secret."""


class Rules(NamedTuple):
    """What a token must say, and what it then may. `stations_claim` "": all tokens reach all stations."""

    issuers: tuple[str, ...]
    audience: str
    roles_claim: str
    roles: Mapping[str, Scope]
    stations_claim: str
    leeway_s: int
    keys_max_age_s: int


def rules(settings: BaseServiceSettings) -> Rules | None:
    """As set; None without issuers. Raises SettingsError."""
    issuers = tuple(one.strip() for one in settings.oidc_issuers.split(",") if one.strip())
    if not issuers:
        return None
    for issuer in issuers:
        if not _safe(issuer) or httpx.URL(issuer).query or httpx.URL(issuer).fragment:
            raise SettingsError(f"CSMS_OIDC_ISSUERS: {issuer} is no https:// URL without query")
    if not settings.oidc_audience:
        raise SettingsError("CSMS_OIDC_ISSUERS is set: CSMS_OIDC_AUDIENCE must name what the tokens are for")
    return Rules(
        issuers=issuers,
        audience=settings.oidc_audience,
        roles_claim=settings.oidc_roles_claim,
        roles=_read_roles(settings.oidc_roles),
        stations_claim=settings.oidc_stations_claim,
        leeway_s=settings.oidc_leeway_s,
        keys_max_age_s=settings.oidc_keys_max_age_s,
    )


def _read_roles(text: str) -> dict[str, Scope]:
    found: dict[str, Scope] = {}
    for pair in text.split(","):
        value, equals, role = (part.strip() for part in pair.rpartition("="))
        scope = next((one for one in SCOPES if one == role), None)
        if not equals or not value or scope is None:
            raise SettingsError(
                f"CSMS_OIDC_ROLES: {pair.strip()!r} is no value=role with a role of {', '.join(SCOPES)}"
            )
        found[value] = scope
    return found


def _safe(url: str) -> bool:
    """Whether keys may be fetched there: over TLS, or from this very machine."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return bool(parsed.host) and (parsed.scheme == "https" or (parsed.scheme == "http" and _own(parsed.host)))


def _own(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Keys = Mapping[tuple[str, str], Sequence[jwt.PyJWK]]
"""By (key id, algorithm); under the key id "" all of the algorithm."""


def read_keys(jwks: bytes) -> Keys:
    """The keys of a JWK Set (RFC 7517) with which tokens may be signed; others are left out. Raises ValueError."""
    document = orjson.loads(jwks)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("no JWK Set")
    found: dict[tuple[str, str], list[jwt.PyJWK]] = {}
    for one in document["keys"][:KEYS_MAX]:
        if (
            not isinstance(one, dict)
            or one.get("use", "sig") != "sig"
            or "verify" not in one.get("key_ops", ["verify"])
        ):
            continue
        for algorithm in ALGORITHMS.get(str(one.get("kty")), ()):
            if one.get("alg", algorithm) == algorithm and (key := _key(one, algorithm)):
                for name in {str(one.get("kid", "")), ""}:
                    found.setdefault((name, algorithm), []).append(key)
    return found


def _key(one: dict[str, Any], algorithm: str) -> jwt.PyJWK | None:
    try:
        made = jwt.PyJWK(one, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    size = getattr(made.key, "key_size", 0)
    return None if one["kty"] == "RSA" and size not in RSA_BITS else made


@dataclass
class _Issuer:
    """What is known of one issuer. Times are the event loop's; `read_at` None: its keys were never read."""

    url: str
    keys: Keys = field(default_factory=dict)
    read_at: float | None = None
    tried_at: float | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Tokens:
    """Turns tokens into Callers. `run` keeps the keys fresh; without it they are read when they are needed."""

    def __init__(self, rules: Rules, fetch: Fetch | None = None) -> None:
        self._rules = rules
        self._issuers = {url: _Issuer(url) for url in rules.issuers}
        self._client = None if fetch else httpx.AsyncClient(timeout=FETCH_WITHIN_S, follow_redirects=False)
        self._local = None if fetch else httpx.AsyncClient(timeout=FETCH_WITHIN_S, trust_env=False)
        self._fetch = fetch or self._get

    async def run(self) -> None:
        """Read the issuers' keys now and then, until cancelled."""
        try:
            while True:
                await asyncio.gather(*(self._refresh(issuer) for issuer in self._issuers.values()))
                await asyncio.sleep(REFRESH_S)
        finally:
            for client in (self._client, self._local):
                if client is not None:
                    await client.aclose()

    async def caller(self, token: str) -> Caller:
        """Raises Problem: 401 for what proves nothing, 403 for a token without a role, 503 while nobody can say."""
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise _refused("is too long")
        try:
            header = jwt.get_unverified_header(token)
            claimed = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except _BROKEN:
            raise _refused("is none") from None
        issuer = self._issuers.get(claimed) if isinstance(claimed, str) else None
        if issuer is None:
            raise _refused("is of an unknown issuer")
        for key in await self._candidates(issuer, header):
            if (claims := self._verified(token, key, issuer.url)) is not None:
                return self._admitted(issuer.url, claims)
        raise _refused("is signed with no key of its issuer")

    async def _candidates(self, issuer: _Issuer, header: Mapping[str, Any]) -> Sequence[jwt.PyJWK]:
        algorithm, type_ = header.get("alg"), header.get("typ", "JWT")
        if algorithm not in ALLOWED or not isinstance(type_, str) or type_.lower() not in TYPES:
            raise _refused("is of a kind that is not taken")
        name = (str(header.get("kid", "")), str(algorithm))
        if not self._fresh(issuer) or name not in issuer.keys:
            await self._look_again(issuer)
        if not self._fresh(issuer):
            raise _unreachable()
        found = issuer.keys.get(name, ())
        if not found and issuer.tried_at != issuer.read_at:
            raise _unreachable()
        return found

    def _fresh(self, issuer: _Issuer) -> bool:
        now = asyncio.get_running_loop().time()
        return issuer.read_at is not None and now - issuer.read_at < self._rules.keys_max_age_s

    async def _look_again(self, issuer: _Issuer) -> None:
        """Read the keys, unless that was tried a moment before: many unknown keys at once ask the issuer once."""
        async with issuer.lock:
            now = asyncio.get_running_loop().time()
            if issuer.tried_at is None or now - issuer.tried_at >= REFRESH_AGAIN_S:
                await self._read(issuer)

    async def _refresh(self, issuer: _Issuer) -> None:
        async with issuer.lock:
            await self._read(issuer)

    async def _read(self, issuer: _Issuer) -> None:
        try:
            issuer.keys = await self._read_keys(issuer.url)
        except IssuerUnreachable as error:
            logger.warning("an issuer of tokens cannot be reached", issuer=issuer.url, error=str(error))
            issuer.tried_at = asyncio.get_running_loop().time()
        else:
            issuer.tried_at = issuer.read_at = asyncio.get_running_loop().time()

    async def _read_keys(self, url: str) -> Keys:
        where = f"{url.rstrip('/')}/.well-known/openid-configuration"
        try:
            document = orjson.loads(await self._fetch(where))
            if not isinstance(document, dict) or document.get("issuer") != url:
                raise IssuerUnreachable(f"{where} describes another issuer")
            keys = str(document.get("jwks_uri", ""))
            if not _safe(keys) or (_own(httpx.URL(keys).host) and not _own(httpx.URL(url).host)):
                raise IssuerUnreachable(f"{where} names no https:// address of keys")
            return read_keys(await self._fetch(keys))
        except ValueError as error:
            raise IssuerUnreachable(f"{where}: {error}") from error

    async def _get(self, url: str) -> bytes:
        client = self._local if _own(httpx.URL(url).host) else self._client
        assert client is not None
        try:
            async with asyncio.timeout(FETCH_WITHIN_S), client.stream("GET", url) as answer:
                if answer.status_code != 200:
                    raise IssuerUnreachable(f"{url} answers {answer.status_code}")
                return await whole(answer.aiter_bytes(), ANSWER_BYTES_MAX)
        except TooLong as error:
            raise IssuerUnreachable(f"{url} answers with {error}") from None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise IssuerUnreachable(f"{url}: {type(error).__name__}") from error

    def _verified(self, token: str, key: jwt.PyJWK, issuer: str) -> Mapping[str, Any] | None:
        """What the token claims; None where another key may have signed it. Raises Problem 401."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=ALLOWED,
                audience=self._rules.audience,
                issuer=issuer,
                leeway=self._rules.leeway_s,
                options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True},
            )
        except jwt.InvalidSignatureError:
            return None
        except jwt.ExpiredSignatureError:
            raise _refused("has expired") from None
        except jwt.ImmatureSignatureError:
            raise _refused("is not valid yet") from None
        except jwt.InvalidAudienceError:
            raise _refused("is not for this system") from None
        except _BROKEN:
            raise _refused("lacks what it must say") from None
        if type(claims["exp"]) not in (int, float):  # the library takes digits in a text too
            raise _refused("lacks what it must say")
        return claims

    def _admitted(self, issuer: str, claims: Mapping[str, Any]) -> Caller:
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARACTERS_MAX or not subject.isprintable():
            raise _refused("names no subject that could be written down")
        given = [
            self._rules.roles[name] for name in _roles(claims, self._rules.roles_claim) if name in self._rules.roles
        ]
        if not given:
            raise Problem(403, f"The token holds no role of this system in the claim {self._rules.roles_claim}.")
        # No issuer's URL has a fragment, and no API key's id a colon: nobody can take another's name.
        return Caller(f"{issuer}#{subject}", max(given, key=SCOPES.index), self._stations(claims))

    def _stations(self, claims: Mapping[str, Any]) -> tuple[str, ...] | None:
        if not self._rules.stations_claim:
            return None
        held = _claim(claims, self._rules.stations_claim)
        patterns = held.split(",") if isinstance(held, str) else held
        try:
            return read_patterns(patterns if isinstance(patterns, list) else [])
        except InvalidPattern as error:
            raise Problem(403, f"The token's claim {self._rules.stations_claim}: {error}") from None


_BROKEN: Final = (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError)
"""What reading a stranger's token may raise: depth and numbers in its JSON are not bounded by the library."""


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of this very name (it may be a URL), else the one at the end of the dotted path."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _roles(claims: Mapping[str, Any], name: str) -> list[str]:
    held = _claim(claims, name)
    if isinstance(held, str):
        return held.split()
    return [one for one in held if isinstance(one, str)] if isinstance(held, list) else []


def is_token(credential: str) -> bool:
    """Whether it has the form of a signed JWT; API keys never have."""
    return credential.startswith("ey") and credential.count(".") == 2


def _refused(what: str) -> Problem:
    return Problem(
        401, f"The bearer token {what}.", headers={"WWW-Authenticate": 'Bearer realm="csms", error="invalid_token"'}
    )


def _unreachable() -> Problem:
    return Problem(503, "The issuer of this token does not tell its keys.", headers={"Retry-After": "5"})
