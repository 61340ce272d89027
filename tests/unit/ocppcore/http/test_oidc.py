import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocppcore.http import oidc
from ocppcore.http.auth import Authenticator
from ocppcore.http.oidc import Rules, Tokens, is_token, read_keys, rules
from ocppcore.http.problems import Problem
from ocppcore.http.reach import Caller
from ocppcore.settings import BaseServiceSettings, SettingsError
from tests.support.issuer import AUDIENCE, Issuer, pen, serving

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serving(Issuer()) as found:
        yield found


def made(*issuers: Issuer, **more: Any) -> Rules:
    usual = Rules(
        issuers=tuple(one.url for one in issuers),
        audience=AUDIENCE,
        roles_claim="roles",
        roles={"viewer": "viewer", "chief": "admin"},
        stations_claim="",
        leeway_s=30,
        keys_max_age_s=3600,
    )
    return usual._replace(**more)


@asynccontextmanager
async def taking(rules: Rules) -> AsyncIterator[Tokens]:
    tokens = Tokens(rules)
    running = asyncio.create_task(tokens.run())
    try:
        yield tokens
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def refused(tokens: Tokens, token: str) -> int:
    with pytest.raises(Problem) as problem:
        await tokens.caller(token)
    return problem.value.status


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "PS512", "ES256", "ES384", "EdDSA"])
async def test_a_token_of_the_issuer_is_its_subject_with_the_highest_role(issuer: Issuer, algorithm: str) -> None:
    issuer.pens = [pen("k", algorithm)]
    async with taking(made(issuer)) as tokens:
        assert await tokens.caller(issuer.token(roles=["viewer", "chief", "other"])) == Caller(
            f"{issuer.url}#alice", "admin"
        )


async def test_a_key_without_a_name_or_algorithm_is_found_all_the_same(issuer: Issuer) -> None:
    bare = {name: value for name, value in issuer.pens[0].jwk.items() if name not in ("kid", "alg", "use")}
    issuer.said["/keys"] = json.dumps({"keys": [pen("other").jwk, bare]}).encode()
    token = issuer.pens[0].sign(issuer.claims(), {"kid": None})
    async with taking(made(issuer)) as tokens:
        assert (await tokens.caller(token)).scope == "viewer"


async def test_once_its_key_is_known_a_token_costs_no_network(issuer: Issuer) -> None:
    async with taking(made(issuer)) as tokens:
        await tokens.caller(issuer.token())
        asked = len(issuer.asked)
        for number in range(50):
            await tokens.caller(issuer.token(sub=f"s{number}"))
        issuer.broken = True
        await tokens.caller(issuer.token())
        assert len(issuer.asked) == asked


async def test_a_rotated_key_is_fetched_and_the_old_one_forgotten(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "REFRESH_AGAIN_S", 0.0)
    async with taking(made(issuer)) as tokens:
        old = issuer.token()
        await tokens.caller(old)
        issuer.rotate("RS256")
        await tokens.caller(issuer.token())
        assert await refused(tokens, old) == 401


async def test_unknown_keys_ask_the_issuer_seldom(issuer: Issuer) -> None:
    async with taking(made(issuer)) as tokens:
        await tokens.caller(issuer.token())
        asked = len(issuer.asked)
        forged = [pen(f"k{number}").sign(issuer.claims()) for number in range(50)]
        assert await asyncio.gather(*(refused(tokens, token) for token in forged)) == [401] * 50
        assert len(issuer.asked) - asked <= 2


@pytest.mark.parametrize(
    "broken",
    [
        {"/.well-known/openid-configuration": b"nothing"},
        {"/.well-known/openid-configuration": b"[]"},
        {"/.well-known/openid-configuration": b'{"issuer": "https://other"}'},
        {"/keys": b"{}"},
        {"/keys": b'{"keys": 7}'},
        {"/keys": b" " * 300_000},
    ],
    ids=lambda broken: str(broken)[:80],
)
async def test_an_issuer_that_does_not_tell_its_keys_lets_nobody_in(issuer: Issuer, broken: dict[str, bytes]) -> None:
    issuer.said.update(broken)
    async with taking(made(issuer)) as tokens:
        assert await refused(tokens, issuer.token()) == 503


async def test_an_issuer_that_is_not_there_lets_nobody_in(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "REFRESH_AGAIN_S", 0.0)
    gone = Issuer("http://127.0.0.1:9")
    async with taking(made(issuer, gone)) as tokens:
        assert await refused(tokens, gone.token()) == 503
        assert (await tokens.caller(issuer.token())).scope == "viewer", "the other issuer is there"
        issuer.broken = True
        assert await refused(tokens, pen("new").sign(issuer.claims())) == 503, "nobody can say that the key is unknown"
        assert (await tokens.caller(issuer.token())).scope == "viewer", "its known key still counts"


async def test_keys_that_are_too_old_do_not_count(issuer: Issuer) -> None:
    async with taking(made(issuer, keys_max_age_s=0)) as tokens:
        issuer.broken = True
        assert await refused(tokens, issuer.token()) == 503


@pytest.mark.parametrize("address", ["http://keys.example/keys", "ftp://127.0.0.1/keys", "", "not a url"])
async def test_keys_come_over_tls_or_from_this_machine(issuer: Issuer, address: str) -> None:
    said = {"issuer": issuer.url, "jwks_uri": address}
    issuer.said["/.well-known/openid-configuration"] = json.dumps(said).encode()
    async with taking(made(issuer)) as tokens:
        assert await refused(tokens, issuer.token()) == 503


class From(NamedTuple):
    """Seconds from when the test runs: times in parameters would be other tests in every process."""

    now: int


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"exp": From(-60)}, 401),
        ({"exp": From(-10)}, 200),
        ({"nbf": From(60)}, 401),
        ({"nbf": From(10)}, 200),
        ({"iat": From(60)}, 401),
        ({"exp": None}, 401),
        ({"sub": None}, 401),
        ({"aud": None}, 401),
        ({"aud": "another"}, 401),
        ({"aud": ["another", AUDIENCE]}, 200),
        ({"aud": AUDIENCE[:-1]}, 401),
        ({"sub": ""}, 401),
        ({"sub": "a\nb"}, 401),
        ({"sub": "x" * 256}, 401),
        ({"exp": "soon"}, 401),
        ({"exp": "9999999999"}, 401),
        ({"exp": True}, 401),
        ({"roles": []}, 403),
        ({"roles": ["Viewer"]}, 403),
        ({"roles": "other chief"}, 200),
        ({"roles": {"viewer": True}}, 403),
        ({"roles": None}, 403),
        ({"roles": [["viewer"]]}, 403),
    ],
    ids=str,
)
async def test_what_a_token_must_say(issuer: Issuer, claims: dict[str, Any], status: int) -> None:
    claims = {name: time.time() + said.now if isinstance(said, From) else said for name, said in claims.items()}
    async with taking(made(issuer)) as tokens:
        if status == 200:
            await tokens.caller(issuer.token(**claims))
        else:
            assert await refused(tokens, issuer.token(**claims)) == status


async def test_roles_and_stations_stand_in_the_claims_that_were_set(issuer: Issuer) -> None:
    found = made(issuer, roles_claim="realm_access.roles", stations_claim="https://csms.example/stations")
    async with taking(found) as tokens:
        nested: dict[str, Any] = {
            "realm_access": {"roles": ["chief"]},
            "https://csms.example/stations": ["CS-1", "Site-*"],
        }
        assert await tokens.caller(issuer.token(**nested)) == Caller(f"{issuer.url}#alice", "admin", ("cs-1", "site-*"))
        for stations, reached in (("CS-1, CS-2", ("cs-1", "cs-2")), (["*"], None), (None, ()), (7, ()), ([], ())):
            nested["https://csms.example/stations"] = stations
            assert (await tokens.caller(issuer.token(**nested))).stations == reached
        nested["https://csms.example/stations"] = ["CS-1", ""]
        assert await refused(tokens, issuer.token(**nested)) == 403


async def test_an_issuer_cannot_speak_for_another() -> None:
    with serving(Issuer()) as one, serving(Issuer()) as two:
        async with taking(made(one, two)) as tokens:
            assert (await tokens.caller(two.token())).id == f"{two.url}#alice"
            assert await refused(tokens, two.token(iss=one.url)) == 401
            assert await refused(tokens, one.token(iss="https://elsewhere")) == 401


def encoded(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def part(value: object) -> str:
    return encoded(json.dumps(value).encode())


ANY = st.none() | st.text() | st.integers() | st.floats() | st.lists(st.text())
HEADERS = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk"]), ANY)
CLAIMS = st.dictionaries(st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "roles"]), ANY)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=HEADERS, claims=CLAIMS, signature=st.binary(max_size=100))
async def test_whatever_a_stranger_signs_is_a_clear_no(
    issuer: Issuer, header: dict[str, Any], claims: dict[str, Any], signature: bytes
) -> None:
    tokens = Tokens(made(issuer), fetch=lambda url: _answer(issuer, url))
    for head in (header, {"alg": "ES256", "kid": "first", **header}):
        token = f"{part(head)}.{part({'iss': issuer.url, **claims})}.{encoded(signature)}"
        assert await refused(tokens, token) == 401


async def _answer(issuer: Issuer, url: str) -> bytes:
    return issuer.answer(url.removeprefix(issuer.url))[1]


@pytest.mark.parametrize(
    "text",
    [
        "eyJ.eyJ.",
        "eyJhbGciOiJub25lIn0..",
        "ey..",
        "ey\udcff.a.b",
        "ey" + "a" * 20_000 + ".a.b",
        part({"alg": "ES256"}) + "." + encoded(b"[" * 9000) + ".x",
        encoded(b'{"a":' + b"[" * 9000) + ".e30.x",
        part({"alg": "ES256"}) + "." + encoded(b'{"exp":1e999,"iss":"x"}') + ".x",
    ],
    ids=lambda text: text[:30].encode("ascii", "replace").decode(),
)
async def test_what_is_no_token_is_a_clear_no(issuer: Issuer, text: str) -> None:
    async with taking(made(issuer)) as tokens:
        assert await refused(tokens, text) == 401


async def test_numbers_beyond_all_measure_in_a_signed_token(issuer: Issuer) -> None:
    async with taking(made(issuer)) as tokens:
        for exp in (float("inf"), float("nan"), -(10**400)):
            assert await refused(tokens, issuer.token(exp=exp)) == 401


def test_keys_that_must_not_sign_are_left_out() -> None:
    good, other = pen("good"), pen("other", "RS256")
    shared = {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"}
    encrypting = pen("encrypting").jwk | {"use": "enc"}
    wrapping = pen("wrapping").jwk | {"key_ops": ["wrapKey"]}
    weak = {"kty": "RSA", "kid": "weak", "e": "AQAB", "n": base64.urlsafe_b64encode(b"\xff" * 128).decode().rstrip("=")}
    some = [good.jwk, shared, encrypting, wrapping, weak, other.jwk, 7, {"kty": "EC", "kid": "broken"}]
    keys = read_keys(json.dumps({"keys": some}).encode())
    assert {kid for kid, _ in keys} == {"good", "other", ""}
    assert {algorithm for _, algorithm in keys} == {"ES256", "RS256"}


class NoKeys:
    async def find(self, hash_: str) -> Caller | None:
        return None


async def test_tokens_and_keys_go_through_one_door(issuer: Issuer) -> None:
    async with taking(made(issuer)) as tokens:
        door = Authenticator(NoKeys(), b"secret", tokens)
        assert (await door.caller(issuer.token())).id == f"{issuer.url}#alice"
        for refused_by in (door, Authenticator(NoKeys(), b"secret")):
            with pytest.raises(Problem) as problem:
                await refused_by.caller("csms_key")
            assert problem.value.status == 401
        with pytest.raises(Problem) as problem:
            await Authenticator(NoKeys(), b"secret").caller(issuer.token())
        assert problem.value.status == 401, "without an issuer set, tokens are unknown keys"
    assert not is_token("csms_abc.def.ghi")


def configured(**more: str) -> Rules | None:
    return rules(
        BaseServiceSettings.model_validate({"oidc_issuers": "https://a.example", "oidc_audience": "x", **more})
    )


def test_settings_become_rules() -> None:
    found = configured(oidc_issuers=" https://a.example/r , http://localhost:9", oidc_roles="ops=operator, g=h=admin")
    assert found is not None
    assert found.issuers == ("https://a.example/r", "http://localhost:9")
    assert found.roles == {"ops": "operator", "g=h": "admin"}
    assert rules(BaseServiceSettings.model_validate({})) is None


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("oidc_issuers", "http://a.example"),
        ("oidc_issuers", "a.example"),
        ("oidc_issuers", "https://a.example?x=1"),
        ("oidc_audience", ""),
        ("oidc_roles", "king=all"),
        ("oidc_roles", "viewer"),
        ("oidc_roles", ""),
    ],
)
def test_settings_that_would_open_the_door_too_wide_are_refused(setting: str, value: str) -> None:
    with pytest.raises(SettingsError):
        configured(**{setting: value})
