"""Revocation at the authority that signed: every way in which it can end."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509

from ocppcore.contracts.certificates import CrlReason, RevocationResult, RevokeCertificate
from ocppcore.service import Outcome
from ocppcore.settings import SettingsError, read
from services.auth.authority.port import AuthorityFailed
from services.auth.authority.revoking import RevokingProgram
from services.auth.domain.certificate import CERTIFICATES, EXPIRY, TELL
from services.auth.domain.certificate_revocation import ATTEMPTS_MAX
from services.auth.settings import Settings
from tests.support.csrs import Ca, request
from tests.unit.auth.signing_rig import KEY, STATION, Rig


class Outside:
    """An authority outside that fails as often as there are `failures`; what it was asked for."""

    def __init__(self, *failures: AuthorityFailed) -> None:
        self.failures = list(failures)
        self.asked: list[tuple[int, CrlReason]] = []

    async def revoke(self, chain: Sequence[x509.Certificate], reason: CrlReason) -> None:
        self.asked.append((chain[0].serial_number, reason))
        if self.failures:
            raise self.failures.pop(0)


def away() -> AuthorityFailed:
    return AuthorityFailed("it is away", again=True)


def accepted(outside: Outside) -> Rig:
    rig = Rig(revoker=outside)
    rig.world.connect()
    rig.sign()
    rig.answer()
    return rig


def row(rig: Rig) -> tuple[object, object]:
    (found,) = rig.world.rows(CERTIFICATES)
    return found["state"], found["told"]


def fingerprint(rig: Rig) -> str:
    return str(rig.world.rows(CERTIFICATES)[0]["fingerprint"])


def revoke(rig: Rig, *, perform: bool = True) -> Outcome:
    body = RevokeCertificate(fingerprint=fingerprint(rig), reason="stolen", crl_reason="keyCompromise")
    outcome = rig.world.ask(RevokeCertificate.NAME, body, key=KEY)
    assert outcome.result is not None
    assert outcome.result.status == 204
    return rig.run(outcome) if perform else outcome


def pause(rig: Rig) -> int:
    """The pause before the authority is asked again passes; how long it was."""
    subject = f"{KEY}/{fingerprint(rig)}"
    due = rig.world.timers[(TELL, subject)]
    waited, rig.world.now = due - rig.world.now, due
    rig.run(rig.world.tick(TELL, subject))
    return waited


def test_the_authority_hears_of_it_once_the_gateways_have_been_told() -> None:
    outside = Outside()
    rig = accepted(outside)
    revoke(rig)
    serial = int(str(rig.world.rows(CERTIFICATES)[0]["serial_number"]), 16)
    assert outside.asked == [(serial, "keyCompromise")]
    assert rig.names()[-3:] == ["CertificateRevoked", "CertificateRevocationStarted", "CertificateRevocationDone"]
    assert row(rig) == ("revoked", "revoked")
    revoke(rig)
    assert len(outside.asked) == 1, "it is done"


def test_without_an_authority_outside_nobody_is_asked() -> None:
    rig = Rig()
    rig.world.connect()
    rig.sign()
    revoke(rig)
    assert rig.names()[-1] == "CertificateRevoked"
    assert row(rig) == ("revoked", "")


def test_one_that_is_away_is_asked_again_after_growing_pauses() -> None:
    outside = Outside(away(), away())
    rig = accepted(outside)
    revoke(rig)
    assert row(rig) == ("revoked", "asked")
    assert [pause(rig), pause(rig)] == [30_000, 60_000]
    assert row(rig) == ("revoked", "revoked")
    assert rig.events("CertificateAlarmRaised") == []
    assert [asked for asked, _ in rig.world.timers if asked == TELL] == []
    assert [reason for _, reason in outside.asked] == ["keyCompromise"] * 3


def test_in_the_end_it_is_an_alarm_and_an_operator_may_ask_once_more() -> None:
    outside = Outside(*(away() for _ in range(ATTEMPTS_MAX)))
    rig = accepted(outside)
    revoke(rig)
    waits = [pause(rig) for _ in range(ATTEMPTS_MAX - 1)]
    assert waits[-1] == 3600 * 1000
    assert row(rig) == ("revoked", "failed")
    (alarm,) = rig.events("CertificateAlarmRaised")
    assert (alarm.what, alarm.reason) == ("revocation_failed", f"{fingerprint(rig)}: it is away")  # type: ignore[attr-defined]
    revoke(rig)
    assert row(rig) == ("revoked", "revoked")
    assert len(rig.events("CertificateRevoked")) == 1


def test_one_that_refuses_is_not_asked_again() -> None:
    outside = Outside(AuthorityFailed("never heard of it", again=False))
    rig = accepted(outside)
    revoke(rig)
    assert row(rig) == ("revoked", "failed")
    (alarm,) = rig.events("CertificateAlarmRaised")
    assert "never heard of it" in alarm.reason  # type: ignore[attr-defined]
    assert not [name for name, _ in rig.world.timers if name == TELL]


def test_an_answer_counts_once_and_only_to_what_was_asked() -> None:
    """A worker that died after it had asked is followed by another: two results, of which the second is late."""
    rig = accepted(Outside(away()))
    revoke(rig)
    seen = len(rig.world.events)
    for attempt, names in ((2, []), (1, ["CertificateRevocationDone"]), (1, ["CertificateRevocationDone"])):
        late = RevocationResult(fingerprint=fingerprint(rig), attempt=attempt)
        rig.world.ask(RevocationResult.NAME, late, key=KEY, actor="")
        assert rig.names(seen) == names
    assert row(rig) == ("revoked", "revoked")


def test_when_it_expires_the_authority_is_left_alone() -> None:
    outside = Outside(away())
    rig = accepted(outside)
    revoke(rig)
    subject = f"{KEY}/{fingerprint(rig)}"
    rig.world.now = rig.world.timers[(EXPIRY, subject)]
    rig.world.tick(EXPIRY, subject)
    assert [name for name, _ in rig.world.timers if name == TELL] == []
    assert len(outside.asked) == 1


# A program that does it


def a_program(place: Path, code: str) -> RevokingProgram:
    path = place / "revoke.py"
    path.write_text(f"import os, pathlib, sys\ntext = sys.stdin.read()\n{code}\n")
    return RevokingProgram((sys.executable, str(path), "revoke"), 30.0)


async def test_a_program_gets_the_chain_the_reason_and_none_of_our_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CSMS_PASSWORD_KEY", "secret" * 10)
    ca = Ca("Issuing", of=Ca("Root"))
    leaf = ca.issue(request(STATION))
    seen = tmp_path / "seen"
    code = (
        "said = [os.environ[name] for name in ('CERTIFICATE_SERIAL_NUMBER', 'REVOCATION_REASON')]\n"
        f"pathlib.Path({str(seen)!r}).write_text(f'{{said}} {{text.count(\"BEGIN\")}} {{sys.argv[1]}}')\n"
        "assert 'CSMS_PASSWORD_KEY' not in os.environ"
    )
    await a_program(tmp_path, code).revoke([leaf, *ca.chain[:1]], "superseded")
    assert seen.read_text() == f"['{leaf.serial_number:x}', 'superseded'] 2 revoke"


@pytest.mark.parametrize(("code", "again"), [(65, False), (1, True)])
async def test_a_program_that_does_not(tmp_path: Path, code: int, again: bool) -> None:
    leaf = Ca("Root").issue(request(STATION))
    with pytest.raises(AuthorityFailed) as failed:
        await a_program(tmp_path, f"sys.stderr.write('no'); sys.exit({code})").revoke([leaf], "unspecified")
    assert (failed.value.again, "no" in str(failed.value)) == (again, True)


def test_a_program_is_for_those_who_have_no_call_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSMS_AUTH_CA_REVOKE_COMMAND", "our-ca revoke")
    monkeypatch.setenv("CSMS_AUTH_AUTHORITY", "local")
    with pytest.raises(SettingsError, match="CA_REVOKE_COMMAND"):
        read(Settings)


def test_while_its_chain_is_not_there_it_is_tried_later() -> None:
    """As while the tables are built anew."""
    outside = Outside()
    rig = accepted(outside)
    outcome = revoke(rig, perform=False)

    async def nothing(_: str) -> str:
        return ""

    started = outcome.events[-1]
    effect = rig.world.service.effects[type(started)]
    object.__setattr__(effect.__self__, "chain_of", nothing)  # type: ignore[attr-defined]
    result = asyncio.run(effect(started)).body  # type: ignore[arg-type]
    assert (result.again, outside.asked) == (True, [])  # type: ignore[attr-defined]
