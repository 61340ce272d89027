"""From SignCertificate to the station's answer to CertificateSigned (A02, A03), with the local authority behind."""

import datetime
from collections.abc import Sequence
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ocppcore import topics
from ocppcore.contracts.auth import CertificateUse
from ocppcore.contracts.device import Limit, StationState
from ocppcore.envelope import Receipt
from ocppcore.service import Outcome
from ocppcore.v201 import SignCertificateResponse
from services.auth.authority.port import AuthorityFailed, Wanted
from services.auth.domain.certificate import CERTIFICATES, CHAINS
from services.auth.domain.certificate_signing import AGAIN, Signings
from tests.support.csrs import Ca, csr, key, pem, request
from tests.unit.auth.signing_rig import KEY, ORGANIZATION, STATION, Rig


def reply(outcome: Outcome) -> str:
    assert isinstance(outcome.reply, SignCertificateResponse)
    return outcome.reply.status


def reason(outcome: Outcome) -> str:
    assert isinstance(outcome.reply, SignCertificateResponse)
    return str(outcome.reply.statusInfo)


def states(rig: Rig) -> list[Any]:
    return [row["state"] for row in sorted(rig.world.rows(CERTIFICATES), key=lambda row: str(row["issued_at"]))]


def chain(payload: dict[str, Any]) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(payload["certificateChain"].encode())


# The way it should go


@pytest.mark.requirement("A02.FR.11", "A03.FR.11", "A02.FR.14", "A03.FR.14", "A00.FR.507", "A00.FR.508")
@pytest.mark.parametrize("kind", ["", "ChargingStationCertificate", "V2GCertificate"])
def test_a_sound_request_is_accepted_signed_sent_and_taken(kind: str) -> None:
    rig = Rig()
    rig.world.connect()
    holder = key()
    assert reply(rig.sign(csr(STATION, ORGANIZATION, holder), kind)) == "Accepted"
    (payload,) = rig.sent()
    assert payload.get("certificateType", "") == kind
    leaf, issuing = chain(payload)
    assert leaf.public_key() == holder.public_key()
    assert leaf.issuer == issuing.subject != issuing.issuer, "leaf first, without the root"
    assert payload["certificateChain"].startswith("-----BEGIN CERTIFICATE-----\n")
    assert leaf.serial_number > 0
    assert states(rig) == ["sent"]
    rig.answer("Accepted")
    assert rig.names() == ["CertificateSigningStarted", "CertificateIssued", "CertificateSent", "CertificateAccepted"]
    (row,) = rig.world.rows(CERTIFICATES)
    assert (row["state"], row["type"], row["station"]) == ("accepted", kind, KEY)
    assert row["serial_number"] == f"{leaf.serial_number:x}"
    assert rig.world.rows(CHAINS)[0]["chain"] == payload["certificateChain"]
    found = rig.world.state(Signings, KEY)
    assert found is not None
    assert found.open == ()


@pytest.mark.requirement("A00.FR.509", "A00.FR.511", "A00.FR.512", "A00.FR.514")
@pytest.mark.parametrize("organization", [None, "operator"])
def test_the_certificate_is_what_the_standard_wants(organization: str | None) -> None:
    rig = Rig()
    asked = x509.CertificateSigningRequestBuilder().subject_name(request(STATION, organization).subject)
    asked = asked.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    asked = asked.add_extension(x509.SubjectAlternativeName([x509.DNSName("evil.example")]), critical=False)
    rig.sign(pem(asked.sign(key(), SHA256())))
    leaf, _ = chain_of(rig)
    assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == STATION
    assert leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == ORGANIZATION
    assert {type(one.value) for one in leaf.extensions} == {
        x509.BasicConstraints, x509.KeyUsage, x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier,
    }  # fmt: skip
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign, usage.crl_sign) == (True, False, False)
    now = datetime.datetime.fromtimestamp(rig.world.now / 1000, datetime.UTC)
    assert leaf.not_valid_before_utc < now - datetime.timedelta(minutes=5), "a station's clock may be behind"
    assert leaf.not_valid_after_utc > now + datetime.timedelta(days=364)


def chain_of(rig: Rig) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(str(rig.world.rows(CHAINS)[0]["chain"]).encode())


@pytest.mark.requirement("A00.FR.511")
def test_the_registered_serial_number_is_the_name() -> None:
    rig = Rig()
    state = StationState(id=STATION, security_profile=3, credential=None, registration="Accepted", serial_number="SN-7")
    rig.world.given_copy(topics.STATIONS, KEY, state)
    refused = rig.sign(csr(STATION))
    assert reply(refused) == "Rejected"
    assert "InvalidCSR" in reason(refused)
    assert reply(rig.sign(csr("SN-7"))) == "Accepted"


def test_the_id_is_the_name_in_any_case_where_no_serial_number_is_registered() -> None:
    assert reply(Rig().sign(csr("cs-1"))) == "Accepted"


@pytest.mark.requirement("A00.FR.427")
def test_nobody_gets_another_stations_certificate() -> None:
    rig = Rig()
    assert reply(rig.sign(csr("CS-2"))) == "Rejected"
    assert rig.names() == ["CertificateSigningRefused"]


def test_an_secc_has_a_name_of_its_own_and_its_authority_opens_no_connection() -> None:
    rig = Rig()
    assert reply(rig.sign(csr("SECC-1"), "V2GCertificate")) == "Accepted"
    issuer = rig.world.rows(CERTIFICATES)[0]["issuer_fingerprint"]
    trusted = {str(one["fingerprint"]): one["use"] for one in rig.world.published(topics.AUTHORITIES)}
    assert trusted[str(issuer)] == "V2GCertificate"
    assert sorted(map(str, trusted.values())) == ["ChargingStationCertificate"] * 2 + ["V2GCertificate"] * 2


# Repeats


def test_a_repeat_of_a_request_that_is_under_way_is_accepted_and_starts_nothing() -> None:
    rig = Rig()
    rig.world.connect()
    text = csr(STATION)
    first = rig.send(text)
    again = rig.send(text)
    assert (reply(again), again.events) == ("Accepted", ())
    rig.run(first)
    assert (reply(rig.send(text)), len(rig.sent())) == ("Accepted", 1)
    rig.answer("Accepted")
    assert rig.send(text).events != (), "once it is over, the same request is a new one"


def test_another_key_supersedes_the_request_and_what_was_signed_for_it() -> None:
    rig = Rig()
    rig.world.connect()
    late = rig.send(csr(STATION))
    assert [type(one).__name__ for one in rig.send(csr(STATION)).events] == [
        "CertificateRequestSuperseded",
        "CertificateSigningStarted",
    ]
    rig.run(late)
    assert states(rig) == ["superseded"]
    assert rig.sent() == [], "the station has no key for it any more"
    rig.sign(csr(STATION))
    rig.world.wait(1000)
    rig.sign(csr(STATION))
    assert states(rig) == ["superseded", "superseded", "sent"]


def test_two_seccs_of_a_station_get_a_certificate_each() -> None:
    rig = Rig()
    for name in ("SECC-1", "SECC-2"):
        rig.sign(csr(name), "V2GCertificate")
    assert states(rig) == ["sent", "sent"]


def test_a_new_certificate_supersedes_the_one_in_use_once_it_is_accepted() -> None:
    rig = Rig()
    rig.world.connect()
    rig.sign()
    rig.answer()
    rig.world.wait(60_000)
    rig.sign()
    assert states(rig) == ["accepted", "sent"]
    rig.answer()
    assert states(rig) == ["superseded", "accepted"]


# No


@pytest.mark.requirement("A02.FR.12", "A03.FR.12")
def test_without_an_authority_for_it_a_request_is_rejected() -> None:
    only: frozenset[CertificateUse] = frozenset({"ChargingStationCertificate"})
    rig = Rig(uses=only)
    refused = rig.sign(csr(STATION), "V2GCertificate")
    assert (reply(refused), "UnsupportedRequest" in reason(refused)) == ("Rejected", True)
    assert reply(rig.sign(csr(STATION))) == "Accepted"


@pytest.mark.requirement("A02.FR.12", "A03.FR.12")
def test_a_flood_is_rejected_and_is_one_event_an_hour() -> None:
    rig = Rig(csrs_per_hour=3)
    for _ in range(2):
        assert reply(rig.sign()) == "Accepted"
    assert reply(rig.send("garbage")) == "Rejected"
    first, second = rig.send(csr(STATION)), rig.send(csr(STATION))
    assert [reply(first), reply(second)] == ["Rejected", "Rejected"]
    assert [type(one).__name__ for one in first.events] == ["CertificateSigningRefused", "CertificateAlarmRaised"]
    assert second.events == ()
    assert reply(rig.send(csr("CS-2"), station="CS-2")) == "Accepted", "each station has its own limit"
    rig.world.wait(3_600_001)
    assert reply(rig.send(csr(STATION))) == "Accepted"


def test_in_a_flood_the_request_that_is_under_way_is_still_known() -> None:
    rig = Rig(csrs_per_hour=1)
    text = csr(STATION)
    rig.send(text)
    assert (reply(rig.send(text)), reply(rig.send(csr(STATION)))) == ("Accepted", "Rejected")


def test_a_request_with_a_forged_signature_gets_no_certificate_and_alarms() -> None:
    rig = Rig()
    der = bytearray(request(STATION).public_bytes(Encoding.DER))
    der[-1] ^= 1
    assert reply(rig.sign(pem(x509.load_der_x509_csr(bytes(der))))) == "Accepted"
    assert rig.names() == ["CertificateSigningStarted", "CertificateSigningFailed", "CertificateAlarmRaised"]
    assert "signature" in rig.events("CertificateAlarmRaised")[0].reason  # type: ignore[attr-defined]
    assert rig.world.rows(CERTIFICATES) == []


class Puzzled:
    """An authority whose library does not know what to do with the request."""

    uses: frozenset[CertificateUse] = frozenset({"ChargingStationCertificate"})

    async def sign(self, wanted: Wanted) -> Sequence[x509.Certificate]:
        raise ValueError("what is this")


def test_a_request_that_a_library_chokes_on_ends_as_refused() -> None:
    """An exception would only come again, and nobody's request would be signed any more."""
    rig = Rig(Puzzled())
    rig.sign()
    (alarm,) = rig.events("CertificateAlarmRaised")
    assert alarm.reason == "the request cannot be signed: what is this"  # type: ignore[attr-defined]


# An authority that fails


class Failing:
    """An authority that fails so often, then signs."""

    uses: frozenset[CertificateUse] = frozenset({"ChargingStationCertificate"})

    def __init__(self, times: int, *, again: bool = True) -> None:
        self.left, self.again = times, again
        self.ca = Ca("Failing")

    async def sign(self, wanted: Wanted) -> Sequence[x509.Certificate]:
        if self.left > 0:
            self.left -= 1
            raise AuthorityFailed("out of ink", again=self.again)
        subject = request(wanted.common_name, ORGANIZATION).subject
        return [self.ca.issue(wanted.request, subject=subject), *self.ca.chain]


def now_ms() -> int:
    return round(datetime.datetime.now(datetime.UTC).timestamp() * 1000)


def test_a_failing_authority_is_asked_again_with_growing_pauses() -> None:
    rig = Rig(Failing(2), signing_pause_ms=30_000)
    rig.world.now = now_ms()
    rig.sign()
    for pause in (30_000, 60_000):
        (subject,) = [subject for name, subject in rig.world.timers if name == AGAIN]
        assert rig.world.timers[AGAIN, subject] == rig.world.now + pause
        rig.world.wait(pause)
        rig.run(rig.world.tick(AGAIN, subject))
    assert states(rig) == ["sent"]
    assert rig.events("CertificateAlarmRaised") == []
    assert (AGAIN, subject) not in rig.world.timers
    (trusted,) = rig.world.published(topics.AUTHORITIES)
    assert (trusted["kind"], trusted["use"]) == ("root", "ChargingStationCertificate")


def test_an_authority_that_fails_for_good_alarms_and_a_new_request_starts_anew() -> None:
    rig = Rig(Failing(2), signing_attempts=2)
    rig.world.now = now_ms()
    rig.sign()
    (subject,) = [subject for name, subject in rig.world.timers if name == AGAIN]
    rig.world.wait(60_000)
    rig.run(rig.world.tick(AGAIN, subject))
    (alarm,) = rig.events("CertificateAlarmRaised")
    assert (alarm.what, alarm.reason) == ("signing_failed", "out of ink")  # type: ignore[attr-defined]
    assert [name for name, _ in rig.world.timers if name == AGAIN] == []
    rig.sign()
    assert states(rig) == ["sent"]


def test_an_authority_that_refuses_is_not_asked_again() -> None:
    rig = Rig(Failing(1, again=False))
    rig.sign()
    assert rig.names() == ["CertificateSigningStarted", "CertificateSigningFailed", "CertificateAlarmRaised"]


# A station that does not take it


def test_a_station_that_rejects_ends_it_and_alarms() -> None:
    rig = Rig()
    rig.world.connect()
    rig.sign()
    rig.answer("Rejected", reasonCode="InvalidCertificate")
    assert states(rig) == ["rejected"]
    (alarm,) = rig.events("CertificateAlarmRaised")
    assert alarm.what == "rejected_by_station"  # type: ignore[attr-defined]
    assert "InvalidCertificate" in alarm.reason  # type: ignore[attr-defined]
    assert [name for name, _ in rig.world.timers if name == AGAIN] == []


def test_no_answer_is_sent_again_with_limits() -> None:
    rig = Rig(sends=2, send_pause_ms=60_000)
    rig.world.connect()
    rig.sign()
    rig.error()
    assert states(rig) == ["sent"]
    ((_, subject),) = [one for one in rig.world.timers if one[0] == AGAIN]
    rig.world.wait(60_000)
    rig.world.tick(AGAIN, subject)
    first, second = rig.sent()
    assert first == second
    rig.error()
    assert states(rig) == ["undelivered"]
    assert rig.events("CertificateAlarmRaised")[0].what == "undelivered"  # type: ignore[attr-defined]
    assert [name for name, _ in rig.world.timers if name == AGAIN] == []


def test_the_end_of_an_earlier_send_says_nothing_about_this_one() -> None:
    rig = Rig()
    rig.world.connect()
    rig.sign()
    rig.error()
    assert rig.ended().events == (), "read twice"
    ((_, subject),) = [one for one in rig.world.timers if one[0] == AGAIN]
    rig.world.wait(60_000)
    rig.world.tick(AGAIN, subject)
    assert rig.ended().events == (), "of the first send"
    rig.answer()
    assert states(rig) == ["accepted"]


def test_a_crash_between_send_and_answer_sends_the_same_chain_again() -> None:
    """The gateway went with the frame on the socket: nobody knows whether it arrived (CertificateSigned takes the CSR
    with it, so it is not repeated silently), the same is sent once more after a pause."""
    rig = Rig()
    rig.world.connect()
    rig.sign()
    command_id: str = rig.events("CommandAsked")[0].command_id  # type: ignore[attr-defined]
    for what in ("sending", "lost"):
        rig.world.receipt(Receipt(KEY, 0, 1, rig.world.now, command_id, "CertificateSigned", what, "", ""))
    rig.ended()
    assert rig.events("CertificateSendingFailed")[0].reason == "CertificateSigned: unknown"  # type: ignore[attr-defined]
    ((_, subject),) = [one for one in rig.world.timers if one[0] == AGAIN]
    rig.world.wait(60_000)
    rig.world.tick(AGAIN, subject)
    rig.answer("Accepted")
    assert states(rig) == ["accepted"]


def test_a_rejection_after_a_lost_answer_says_that_it_may_have_been_accepted() -> None:
    rig = Rig()
    rig.world.connect()
    rig.sign()
    rig.error()
    ((_, subject),) = [one for one in rig.world.timers if one[0] == AGAIN]
    rig.world.wait(60_000)
    rig.world.tick(AGAIN, subject)
    rig.answer("Rejected")
    assert "may have accepted it before" in str(rig.world.rows(CERTIFICATES)[0]["reason"])


def test_the_chain_waits_for_a_station_that_is_away() -> None:
    rig = Rig()
    rig.sign()
    assert rig.events("CommandQueued") == []
    rig.world.wait(3_600_000)
    rig.world.connect()
    assert len(rig.events("CommandQueued")) == 1
    rig.answer()
    assert states(rig) == ["accepted"]


def test_a_station_that_stays_away_is_given_up() -> None:
    rig = Rig(send_within_ms=1000)
    rig.sign()
    ((_, subject),) = [one for one in rig.world.timers if one[0] == "command-expiry"]
    rig.world.wait(1000)
    rig.world.tick("command-expiry", subject)
    rig.ended()
    assert states(rig) == ["undelivered"]


def test_a_chain_that_is_too_long_for_the_station_is_not_sent() -> None:
    rig = Rig()
    state = StationState(
        id=STATION, security_profile=3, credential=None, registration="Accepted",
        limits={"CertificateSigned": Limit(bytes=1000)},
    )  # fmt: skip
    rig.world.given_copy(topics.STATIONS, KEY, state)
    rig.sign()
    assert rig.sent() == []
    assert states(rig) == ["undelivered"]
    assert "MaxCertificateChainSize" in rig.events("CertificateAlarmRaised")[0].reason  # type: ignore[attr-defined]
