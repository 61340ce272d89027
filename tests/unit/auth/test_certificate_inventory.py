"""The inventory: expiry, revocation, and what gateways are told."""

import pytest
from cryptography import x509

from ocppcore import topics
from ocppcore.contracts.certificates import CaCertificate, RevokeCertificate, TrustAuthority
from ocppcore.service import Outcome
from services.auth.domain.authority import AUTHORITIES
from services.auth.domain.certificate import CERTIFICATES, DAY_MS, EXPIRY, Certificate
from tests.unit.auth.signing_rig import KEY, Rig


def timer(rig: Rig) -> tuple[str, int]:
    """Subject of the one certificate's timer, and when it is due."""
    ((name, due),) = [(key, due) for key, due in rig.world.timers.items() if key[0] == EXPIRY]
    return name[1], due


def pass_timer(rig: Rig) -> Outcome:
    subject, due = timer(rig)
    rig.world.now = due
    return rig.world.tick(EXPIRY, subject)


def revoke(rig: Rig, fingerprint: str, station: str = KEY) -> int:
    result = rig.world.ask(
        RevokeCertificate.NAME, RevokeCertificate(fingerprint=fingerprint, reason="lost"), key=station
    ).result
    assert result is not None
    return result.status


def fingerprint(rig: Rig) -> str:
    return str(rig.world.rows(CERTIFICATES)[0]["fingerprint"])


def accepted() -> Rig:
    rig = Rig()
    rig.world.connect()
    rig.sign()
    rig.answer()
    return rig


def test_a_certificate_says_30_14_and_3_days_before_that_it_expires() -> None:
    rig = accepted()
    not_after = rig.world.rows(CERTIFICATES)[0]["not_after"]
    assert isinstance(not_after, int)
    for days in (30, 14, 3):
        (event,) = pass_timer(rig).events
        assert (type(event).__name__, event.days) == ("CertificateExpiring", days)  # type: ignore[attr-defined]
        assert event.at == not_after - days * DAY_MS
    (gone,) = pass_timer(rig).events
    assert (type(gone).__name__, gone.at) == ("CertificateExpired", not_after)
    assert rig.world.rows(CERTIFICATES)[0]["state"] == "expired"
    assert rig.world.state(Certificate, f"{KEY}/{fingerprint(rig)}") is None
    assert [name for name, _ in rig.world.timers if name == EXPIRY] == []


def test_a_tick_that_comes_late_says_the_nearest_milestone_only() -> None:
    rig = accepted()
    subject, due = timer(rig)
    rig.world.now = due + 20 * DAY_MS
    (event,) = rig.world.tick(EXPIRY, subject).events
    assert event.days == 14  # type: ignore[attr-defined]


def test_one_that_is_not_in_use_expires_without_a_word_before() -> None:
    rig = Rig()
    rig.world.connect()
    rig.sign()
    rig.answer("Rejected")
    assert timer(rig)[1] == rig.world.rows(CERTIFICATES)[0]["not_after"]
    pass_timer(rig)
    assert rig.world.rows(CERTIFICATES)[0]["state"] == "rejected"


@pytest.mark.requirement("A00.FR.704")
def test_a_revoked_certificate_is_told_to_the_gateways_until_it_has_expired() -> None:
    rig = accepted()
    one = fingerprint(rig)
    assert revoke(rig, "0" * 64) == 404
    assert revoke(rig, one, "cs-2") == 404, "it is another station's"
    assert revoke(rig, one) == 204
    assert revoke(rig, one) == 204
    assert len(rig.events("CertificateRevoked")) == 1
    (row,) = rig.world.rows(CERTIFICATES)
    assert (row["state"], row["reason"]) == ("revoked", "lost")
    told = [state for state in rig.world.published(topics.AUTHORITIES) if state["kind"] == "revoked"]
    assert told == [
        {"fingerprint": one, "kind": "revoked", "use": "ChargingStationCertificate", "notAfter": row["not_after"]}
    ]
    pass_timer(rig)
    last = rig.world.published(topics.AUTHORITIES)[-1]
    assert (last["fingerprint"], last["deleted"]) == (one, True)
    assert rig.world.rows(CERTIFICATES)[0]["state"] == "revoked"


def test_what_was_revoked_stays_so_whatever_the_station_answers() -> None:
    rig = Rig()
    rig.world.connect()
    rig.sign()
    revoke(rig, fingerprint(rig))
    rig.answer("Accepted")
    assert rig.world.rows(CERTIFICATES)[0]["state"] == "revoked"


# Authorities


def test_the_local_authority_is_made_once_and_told_to_the_gateways() -> None:
    rig = Rig()
    states = rig.world.published(topics.AUTHORITIES)
    assert sorted((str(one["use"]), str(one["kind"])) for one in states) == [
        (use, kind) for use in ("ChargingStationCertificate", "V2GCertificate") for kind in ("issuing", "root")
    ]
    for one in states:
        certificate = x509.load_pem_x509_certificate(str(one["certificate"]).encode())
        assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    rig.sign()
    assert len(rig.world.published(topics.AUTHORITIES)) == 4, "known ones are not told again"
    assert "PRIVATE" not in str(rig.world.records) + str(rig.world.events)


def test_an_authority_that_signs_for_both_uses_is_trusted_for_none() -> None:
    rig = Rig()
    row = next(row for row in rig.world.rows(AUTHORITIES) if row["use"] == "ChargingStationCertificate")
    same = CaCertificate(
        fingerprint=str(row["fingerprint"]), kind="issuing", subject_name="x", not_after=1, certificate="pem"
    )
    for _ in range(2):
        rig.world.ask(TrustAuthority.NAME, TrustAuthority(use="V2GCertificate", authority=same), key=same.fingerprint)
    assert len(rig.events("AuthorityDistrusted")) == 1
    last = rig.world.published(topics.AUTHORITIES)[-1]
    assert (last["fingerprint"], last["deleted"]) == (same.fingerprint, True)
    found = {row["fingerprint"]: row["trusted"] for row in rig.world.rows(AUTHORITIES)}
    assert found[same.fingerprint] is False
