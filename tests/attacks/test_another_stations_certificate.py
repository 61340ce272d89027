"""Attack: come with a certificate that is real, and another station's, or that only looks like the right one.

Passes if none opens the victim's connection, each is refused for its own reason, and the victim's own still opens it.
"""

import ssl
from collections.abc import Callable

import pytest
from websockets.exceptions import ConnectionClosed, InvalidMessage

from tests.support.guarded import Guarded, stranger
from tests.support.pki import Certified, authority

pytest_plugins = [
    "tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_system", "tests.support.guarded_broker"
]  # fmt: skip

VICTIM = "Victim-2"
NOT_VERIFIED = (ssl.SSLError, ConnectionError, InvalidMessage, ConnectionClosed, EOFError)

VARIANTS: dict[str, tuple[Callable[[Certified], Certified], str]] = {
    "a neighbour's": (lambda operator: operator.issue("Neighbour-2"), "certificate_name"),
    "the victim named as organisation": (
        lambda operator: operator.issue("Neighbour-2", VICTIM),
        "certificate_organization",
    ),
    "the victim named as host": (lambda operator: operator.issue("Neighbour-2", host=VICTIM), "certificate_name"),
    "the name and a space": (lambda operator: operator.issue(f"{VICTIM} "), "certificate_name"),
    "the name within another": (lambda operator: operator.issue(f"{VICTIM}/Neighbour-2"), "certificate_name"),
    "issued with a neighbour's": (lambda operator: operator.issue("Neighbour-2").issue(VICTIM), ""),
    "of an authority with the same name": (lambda _: authority("Root of the operator").issue(VICTIM), ""),
    "the victim's, its key unknown": (lambda operator: operator.issue(VICTIM, key=operator.issue("x").key), "stolen"),
}


@pytest.mark.requirement("A00.FR.403", "A00.FR.404", "A00.FR.405", "A00.FR.407", "A00.FR.427")
@pytest.mark.parametrize("variant", [name for name in VARIANTS if VARIANTS[name][1] != "stolen"])
async def test_it_opens_nothing(guarded: Guarded, variant: str) -> None:
    for identity in (VICTIM, "Neighbour-2"):
        await guarded.register(identity, securityProfile=3)
    made, cause = VARIANTS[variant]
    own = made(guarded.operator)

    if cause:
        before = await guarded.refusals(cause)
        assert await guarded.status(VICTIM, tls=guarded.context(own), source=stranger()) == 401
        assert await guarded.refusals(cause) == before + 1
    else:
        with pytest.raises(NOT_VERIFIED):
            await guarded.status(VICTIM, tls=guarded.context(own), source=stranger())
    assert not await guarded.connected(VICTIM)
    assert await guarded.status(VICTIM, None, tls=guarded.context(guarded.operator.issue(VICTIM))) == 101


async def test_a_certificate_without_its_key_is_nobody_s(guarded: Guarded) -> None:
    """What an eavesdropper of TLS 1.2 has: the certificate. The handshake asks for a proof of the key."""
    theirs = guarded.operator.issue(VICTIM)
    chain, _ = theirs.write(guarded.folder, "seen")
    _, other_key = guarded.operator.issue(VICTIM).write(guarded.folder, "made-up")
    with pytest.raises(ssl.SSLError, match="KEY_VALUES_MISMATCH"):
        guarded.context().load_cert_chain(chain, other_key)
