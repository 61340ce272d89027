"""Attack: forged tokens of the issuer (RFC 8725 lists how), thousands of them.

It fails if one is let in, if an address that a token names is ever asked, if the issuer is asked more than a few times,
or if true tokens are refused meanwhile.

Embedded only: who a token is of is decided before anything is written; keys of issuers are no records.
"""

import asyncio
import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.closed import Closed
from tests.support.issuer import Issuer, Pen, pen, serving

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system", "tests.support.closed_system"]
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

STORM = 500


def part(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def forgeries(true: Issuer, thief: Issuer, own: Pen) -> dict[str, str]:
    """By what they try. `own`: the thief's key; his server would tell it to whoever asks."""
    claims = true.claims(roles=["admin"], csms_stations=["*"])
    good = true.pens[0].sign(claims)
    head, body, signature = good.split(".")
    kid = true.pens[0].kid
    public: Any = true.pens[0].private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    jwk = json.dumps(true.pens[0].jwk).encode()

    def shared(secret: bytes, **header: Any) -> str:
        """HS256 by hand: libraries refuse to sign with what looks like a public key."""
        text = f"{part({'alg': 'HS256', 'kid': kid, **header})}.{part(claims)}"
        made = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(text.encode(), secret)
        return f"{text}.{part(made)}"

    def bare(algorithm: object, end: str = "") -> str:
        return f"{part({'alg': algorithm, 'typ': 'JWT', 'kid': kid})}.{part(claims)}.{end}"

    now = int(time.time())
    signed = true.pens[0].sign
    return {
        "another body under a true signature": f"{head}.{part(claims | {'sub': 'root'})}.{signature}",
        "another header under a true signature": f"{part({'alg': 'ES256', 'kid': kid, 'x': 1})}.{body}.{signature}",
        "no signature": f"{head}.{body}.",
        "half a signature": f"{head}.{body}.{signature[:40]}",
        "a signature of zeros": f"{head}.{body}.{part(bytes(64))}",
        "a signature of the curve's order": bare("ES256", part(b"\xff" * 64)),
        "alg none": bare("none"),
        "alg None": bare("None", signature),
        "alg nOnE": bare("nOnE", signature),
        "alg empty": bare("", signature),
        "alg null": bare(None, signature),
        "alg a list": bare(["ES256"], signature),
        "HS256 under the public key": shared(pem),
        "HS256 under the JWK": shared(jwk),
        "HS256 under nothing": shared(b""),
        "HS256 under the key's file": shared(b"", kid="../../../../dev/null"),
        "a key of one's own under the true name": pen(kid).sign(claims),
        "a key of one's own in the header": own.sign(claims, {"jwk": own.jwk, "kid": kid}),
        "a set of one's own": own.sign(claims, {"jku": f"{thief.url}/keys"}),
        "a certificate of one's own": own.sign(claims, {"x5u": f"{thief.url}/keys", "x5c": ["MIIB"]}),
        "a name that is a path": own.sign(claims, {"kid": "../../etc/passwd"}),
        "a name that is an address": own.sign(claims, {"kid": f"{thief.url}/keys"}),
        "a name that is SQL": own.sign(claims, {"kid": "' OR '1'='1"}),
        "the issuer's name with more": own.sign(claims | {"iss": f"{true.url}/"}),
        "the issuer's name in capitals": own.sign(claims | {"iss": true.url.upper()}),
        "an issuer of one's own": own.sign(claims | {"iss": thief.url}),
        "a list of issuers": f"{part({'alg': 'ES256'})}.{part(claims | {'iss': [true.url]})}.{signature}",
        "an issuer that quotes ours": own.sign(claims | {"iss": f"{thief.url}/?{true.url}"}),
        "expired": signed(claims | {"exp": now - 120}),
        "never expires": signed({name: value for name, value in claims.items() if name != "exp"}),
        "expires as a text": signed(claims | {"exp": "9999999999"}),
        "not yet": signed(claims | {"nbf": now + 3600}),
        "issued tomorrow": signed(claims | {"iat": now + 86_400}),
        "for nobody": signed({name: value for name, value in claims.items() if name != "aud"}),
        "for another": signed(claims | {"aud": "billing"}),
        "for something like us": signed(claims | {"aud": claims["aud"] + "-2"}),
        "of nobody": signed({name: value for name, value in claims.items() if name != "sub"}),
        "a logout token": signed(claims, {"typ": "logout+jwt"}),
        "a proof of possession": signed(claims, {"typ": "dpop+jwt"}),
        "critical, and unknown": signed(claims, {"crit": ["exp2"], "exp2": 1}),
        "unencoded": f"{part({'alg': 'ES256', 'kid': kid, 'b64': False, 'crit': ['b64']})}.{body}.{signature}",
        "five parts": f"{good}.{body}.{signature}",
        "two parts": f"{head}.{body}",
        "deep": f"{part(b'[' * 5000)}.{body}.{signature}",
        "sixteen kilobytes": signed(claims | {"x": "x" * 12_300}),
        "blanks": f"{head} .{body}.{signature}",
    }  # fmt: skip


async def test_forged_tokens(closed_embedded: Closed) -> None:
    true = closed_embedded.issuer
    with serving(Issuer()) as thief:
        forged = forgeries(true, thief, thief.pens[0])
        async with closed_embedded.bearer(true.token(csms_stations=["*"])) as client:
            assert (await client.get("/device/stations")).status_code == 200
        asked, let_in = len(true.asked), []
        async with closed_embedded.raw() as client:
            for name, token in forged.items():
                answer = await client.get("/device/stations", headers={"Authorization": f"Bearer {token}"})
                if answer.status_code != 401:
                    let_in.append(f"{name}: {answer.status_code}")
                assert token not in answer.text
        assert let_in == []
        assert thief.asked == []
        assert len(true.asked) - asked <= 4, "a few unknown names in a few seconds are looked for once"


async def test_a_storm_of_forged_tokens_keeps_nobody_out_and_leaves_the_issuer_alone(closed_embedded: Closed) -> None:
    true = closed_embedded.issuer
    own = pen("storm")
    tokens = [own.sign(true.claims(), {"kid": f"storm-{number}"}) for number in range(STORM)]
    gate, asked = asyncio.Semaphore(16), len(true.asked)
    began = time.monotonic()
    async with closed_embedded.raw() as client:

        async def one(token: str) -> int:
            async with gate:
                headers = {"Authorization": f"Bearer {token}"}
                return (await client.get("/device/stations", headers=headers)).status_code

        said = await asyncio.gather(*(one(token) for token in tokens), one(true.token(csms_stations=["*"])))
    assert set(said[:-1]) == {401}
    assert said[-1] == 200
    assert len(true.asked) - asked <= 2 * (1 + (time.monotonic() - began) // 5 + 1)
