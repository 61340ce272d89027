"""How a signing ends when the authority misbehaves: a certificate that does not fit, one that comes late, or twice."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from cryptography import x509

from ocppcore.contracts.auth import CertificateUse
from ocppcore.contracts.certificates import SigningResult
from services.auth.authority.port import Wanted
from services.auth.domain.certificate import CERTIFICATES
from services.auth.domain.certificate_signing import AGAIN, Signings
from tests.support.csrs import Ca, csr, name, request
from tests.unit.auth.signing_rig import KEY, ORGANIZATION, STATION, Rig
from tests.unit.auth.test_certificate_signing import now_ms, states

CA = Ca("Issuing", of=Ca("Root"))
SUBJECT = name(STATION, ORGANIZATION)
Signs = Callable[[Wanted], Sequence[x509.Certificate]]


class Authority:
    uses: frozenset[CertificateUse] = frozenset({"ChargingStationCertificate"})

    def __init__(self, signs: Signs) -> None:
        self._signs = signs

    async def sign(self, wanted: Wanted) -> Sequence[x509.Certificate]:
        return self._signs(wanted)


def good(wanted: Wanted) -> Sequence[x509.Certificate]:
    return [CA.issue(wanted.request, subject=SUBJECT), *CA.chain]


def rig_with(signs: Signs, **rules: Any) -> Rig:
    rig = Rig(Authority(signs), **rules)
    rig.world.now = now_ms()
    rig.world.connect()
    return rig


@pytest.mark.requirement("A02.FR.04", "A03.FR.04")
@pytest.mark.parametrize(
    ("signs", "says"),
    [
        (lambda wanted: [CA.issue(request(STATION, ORGANIZATION)), *CA.chain], "0 certificates"),
        (lambda wanted: [CA.issue(wanted.request, subject=name("CS-2", ORGANIZATION)), *CA.chain], "not for"),
        (lambda wanted: [CA.issue(wanted.request, subject=name(STATION, "Other")), *CA.chain], "A00.FR.404"),
        (lambda wanted: [CA.issue(wanted.request, subject=SUBJECT, days=-1), *CA.chain], "valid now"),
        (lambda wanted: [], "0 certificates"),
    ],
    ids=["another key", "another station", "another operator", "expired", "nothing"],
)
def test_a_certificate_that_does_not_fit_the_request_never_reaches_the_station(signs: Signs, says: str) -> None:
    """Whether or not the authority is asked again, in the end there is an alarm that says why."""
    rig = rig_with(signs, signing_attempts=2)
    rig.sign()
    again = [one for one in rig.world.timers if one[0] == AGAIN]
    for _, subject in again:
        rig.world.now = rig.world.timers[AGAIN, subject]
        rig.run(rig.world.tick(AGAIN, subject))
    assert rig.sent() == []
    assert rig.world.rows(CERTIFICATES) == []
    (alarm,) = rig.events("CertificateAlarmRaised")
    assert alarm.what == "signing_failed"  # type: ignore[attr-defined]
    assert says in alarm.reason  # type: ignore[attr-defined]
    signings = rig.world.state(Signings, KEY)
    assert signings is not None
    assert signings.open == ()
    assert [one for one in rig.world.timers if one[0] == AGAIN] == []


def late_result(rig: Rig) -> SigningResult:
    """What a slow authority answers to the request that is under way, when it does."""
    (started,) = rig.events("CertificateSigningStarted")[-1:]
    effect = rig.world.service.effects[type(started)]
    body = asyncio.run(effect(started)).body  # type: ignore[arg-type]
    assert isinstance(body, SigningResult)
    return body


def test_a_slow_authority_answers_a_request_that_another_has_replaced() -> None:
    """The station has made another key meanwhile (A02.FR.17): the late certificate is kept in the list, not sent."""
    rig = rig_with(good)
    rig.send(csr(STATION))
    late = late_result(rig)
    rig.sign(csr(STATION))
    assert states(rig) == ["sent"]
    rig.world.ask(SigningResult.NAME, late, key=KEY, actor="")
    assert sorted(states(rig)) == ["sent", "superseded"]
    assert len(rig.sent()) == 1
    rig.answer()
    assert sorted(states(rig)) == ["accepted", "superseded"]


def test_an_authority_that_signs_after_it_was_given_up_changes_nothing_for_the_station() -> None:
    rig = rig_with(good, signing_attempts=1)
    rig.send(csr(STATION))
    late = late_result(rig)
    given_up = SigningResult(request_id=late.request_id, attempt=1, error="out of ink", again=True)
    rig.world.ask(SigningResult.NAME, given_up, key=KEY, actor="")
    assert [alarm.what for alarm in rig.events("CertificateAlarmRaised")] == ["signing_failed"]  # type: ignore[attr-defined]
    rig.world.ask(SigningResult.NAME, late, key=KEY, actor="")
    assert rig.sent() == []
    assert states(rig) == ["superseded"]


def test_an_authority_that_signs_during_the_pause_is_taken_at_its_word() -> None:
    """Its failure and its success have crossed, as after a crash of the process that asked: no second signature."""
    rig = rig_with(good)
    rig.send(csr(STATION))
    late = late_result(rig)
    failed = SigningResult(request_id=late.request_id, attempt=1, error="out of ink", again=True)
    rig.world.ask(SigningResult.NAME, failed, key=KEY, actor="")
    rig.world.ask(SigningResult.NAME, late, key=KEY, actor="")
    assert states(rig) == ["sent"]
    assert [one for one in rig.world.timers if one[0] == AGAIN] == []


def test_an_authority_that_was_asked_twice_and_signed_twice_has_one_of_them_sent() -> None:
    """A crash between its answer and ours: it is asked again for the same CSR."""
    rig = rig_with(good)
    rig.send(csr(STATION))
    first, second = late_result(rig), late_result(rig)
    assert first.fingerprint != second.fingerprint
    for result in (first, second):
        rig.world.ask(SigningResult.NAME, result, key=KEY, actor="")
    assert len(rig.sent()) == 1
    assert sorted(states(rig)) == ["sent", "superseded"]
    rig.answer()
    assert sorted(states(rig)) == ["accepted", "superseded"]
    assert rig.events("CertificateAlarmRaised") == []
