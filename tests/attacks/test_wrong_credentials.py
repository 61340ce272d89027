"""Attack: connect without credentials, or with wrong ones.

Passes if every attempt is answered 401, not sooner than the delay of all refusals, nothing of it reaches the log, and
the station itself is served meanwhile.
"""

import asyncio
import base64

import pytest
from websockets.exceptions import InvalidStatus

from tests.support.guarded import PASSWORD, Guarded, beat, stranger
from tests.support.raw_ws import basic, request

pytest_plugins = [
    "tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_system", "tests.support.guarded_broker"
]  # fmt: skip

REFUSAL_DELAY_S = 0.29
"""The setting, less what clocks round."""
ATTEMPTS = {
    "nothing": None,
    "empty": "",
    "no password": basic("Victim-1", ""),
    "no user": basic("", PASSWORD),
    "wrong password": basic("Victim-1", "wrong"),
    "almost right": basic("Victim-1", PASSWORD[:-1]),
    "right and more": basic("Victim-1", PASSWORD + "\0"),
    "another case": basic("Victim-1", PASSWORD.upper()),
    "another station's": basic("Neighbour-1", PASSWORD),
    "another station's name": basic("Neighbour-1", "the-password-of-the-neighbour"),
    "the hash": basic("Victim-1", "scrypt$8192$8$1$AAAA$AAAA"),
    "4 KiB": basic("Victim-1", "x" * 4096),
    "a lone surrogate": "Basic " + base64.b64encode(b"Victim-1:\xed\xa0\x80").decode(),
    "bearer": f"Bearer {PASSWORD}",
    "digest": 'Digest username="Victim-1"',
    "twice": f"{basic('Victim-1', 'x')}\r\nAuthorization: {basic('Victim-1', PASSWORD)}",
}


@pytest.mark.requirement("A00.FR.207", "A00.FR.324", "A00.FR.407")
@pytest.mark.parametrize("profile", [1, 2, 3])
async def test_every_attempt_is_401_after_the_same_time(guarded: Guarded, profile: int) -> None:
    victim = await guarded.register("Victim-1", securityProfile=profile)
    await guarded.register("Neighbour-1", password="the-password-of-the-neighbour")
    context = guarded.context() if profile > 1 else None
    certified = guarded.context(guarded.operator.issue(victim)) if profile == 3 else context
    before = await guarded.frames(victim)

    async def attempt(authorization: str | None) -> tuple[int, float]:
        async with guarded.raw(tls=context, source=stranger()) as socket:
            began = asyncio.get_running_loop().time()
            await socket.send(request(f"/ocpp/{victim}", authorization=authorization))
            status, headers, _ = await socket.response()
            assert headers["www-authenticate"].startswith("Basic")
            return status, asyncio.get_running_loop().time() - began

    results = await asyncio.gather(*(attempt(text) for text in ATTEMPTS.values()))

    assert {name: status for name, (status, _) in zip(ATTEMPTS, results, strict=True) if status != 401} == {}
    assert min(took for _, took in results) >= REFUSAL_DELAY_S
    assert await guarded.frames(victim) == before
    async with guarded.station(victim, None if profile == 3 else PASSWORD, tls=certified) as real:
        await beat(real)


async def test_disabled_wrong_and_never_set_sound_the_same(guarded: Guarded) -> None:
    disabled = await guarded.register(disabled=True)
    right = await guarded.register()
    certified = await guarded.register(securityProfile=3)

    async def heard(identity: str, password: str) -> tuple[int, bytes, tuple[str, ...]]:
        async with guarded.raw(source=stranger()) as socket:
            await socket.send(request(f"/ocpp/{identity}", authorization=basic(identity, password)))
            status, headers, body = await socket.response()
            return status, body, tuple(sorted(headers))

    said = {
        await heard(disabled, PASSWORD),
        await heard(disabled, "wrong"),
        await heard(right, "wrong"),
        await heard(certified, PASSWORD),
    }
    assert len(said) == 1, said
    with pytest.raises(InvalidStatus):
        async with guarded.station(disabled):
            pass
