"""Attack: have a station served with less security than the registry expects of it.

Passes if a lower profile, a lower version of TLS, or a cipher suite that is not one of ours, opens nothing.

Embedded only: older versions of TLS, which end before there is a station.
"""

import ssl

import pytest

from tests.support.guarded import PASSWORD, Guarded, stranger

pytest_plugins = [
    "tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_system", "tests.support.guarded_broker"
]  # fmt: skip


@pytest.mark.requirement("A00.FR.001", "A00.FR.002")
@pytest.mark.parametrize("profile", [2, 3])
async def test_what_is_right_for_a_lower_profile_opens_nothing(guarded: Guarded, profile: int) -> None:
    name = await guarded.register(securityProfile=profile)

    assert await guarded.status(name, PASSWORD, source=stranger()) == 401
    if profile == 3:
        assert await guarded.status(name, PASSWORD, tls=guarded.context(), source=stranger()) == 401
    assert await guarded.frames(name) == []


async def test_neither_does_the_door_for_everybody_else(guarded: Guarded) -> None:
    """Registered as open to whoever comes: still not with another transport than the profile's, and never for 3."""
    name = await guarded.register(securityProfile=2, allowUnauthenticated=True)
    assert await guarded.status(name, None, source=stranger()) == 401
    assert await guarded.status(name, None, tls=guarded.context()) == 101
    certified = await guarded.register(securityProfile=3, allowUnauthenticated=True)
    assert await guarded.status(certified, None, tls=guarded.context(), source=stranger()) == 401


@pytest.mark.requirement("A00.FR.313", "A00.FR.315", "A00.FR.416", "A00.FR.418")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=str)
async def test_an_older_tls_ends_with_its_first_message(guarded_embedded: Guarded, version: ssl.TLSVersion) -> None:
    guarded = guarded_embedded
    name = await guarded.register(securityProfile=2)
    before = await guarded.refusals("tls_unsupported_protocol")
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        await guarded.status(name, tls=guarded.context(version=version, suite="ALL:@SECLEVEL=0"), source=stranger())
    assert await guarded.refusals("tls_unsupported_protocol") == before + 1
