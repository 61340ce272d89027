"""Renewal from here (A02): every way it can end."""

import json
from typing import Any

import msgspec
import pytest

from ocppcore import topics
from ocppcore.command_end import ENDED, Ended
from ocppcore.commands import ASK, Ask
from ocppcore.contracts.auth import CertificateUse
from ocppcore.contracts.certificates import RenewCertificate
from ocppcore.service import Outcome, Result
from services.auth.domain.certificate_renewal import BOOT_MS, RENEWALS, TRIGGER, WAIT, Renewal
from tests.support.csrs import csr
from tests.unit.auth.signing_rig import KEY, STATION, Rig

TYPE: CertificateUse = "ChargingStationCertificate"


def renew(rig: Rig, kind: CertificateUse = TYPE, operation: str = "op-1", evse: int | None = None) -> Outcome:
    body = RenewCertificate(
        operation_id=operation, command_id=f"{operation}-trigger", certificate_type=kind, wait_ms=60_000,
        evse_id=evse, identity=STATION,
    )  # fmt: skip
    return rig.world.ask(RenewCertificate.NAME, body, key=KEY)


def asked_of_device(rig: Rig) -> list[Ask]:
    wanted = [one for one in rig.world.records if one.topic == topics.requests("device")]
    assert {one.headers["ce_type"] for one in wanted} <= {ASK}
    return [msgspec.json.decode(one.value, type=Ask) for one in wanted]


def trigger_ended(rig: Rig, status: str = "answered", answer: str = "Accepted", **more: Any) -> Outcome:
    """Device tells what became of TriggerMessage."""
    ask = asked_of_device(rig)[-1]
    body = Ended(
        command_id=ask.command_id, action="TriggerMessage", status=status, reference=ask.reference,  # type: ignore[arg-type]
        response=msgspec.Raw(json.dumps({"status": answer}).encode()), **more,
    )  # fmt: skip
    return rig.world.ask(ENDED, body, key=KEY, actor="")


def state(rig: Rig, operation: str = "op-1") -> tuple[Any, Any]:
    (row,) = [row for row in rig.world.rows(RENEWALS) if row["operation_id"] == operation]
    return row["state"], row["reason"]


def waits(rig: Rig) -> bool:
    return any(name == WAIT for name, _ in rig.world.timers)


@pytest.mark.requirement("A02.FR.01")
def test_a_renewal_ends_when_the_station_has_accepted_its_certificate() -> None:
    rig = Rig()
    rig.world.connect()
    assert renew(rig).result == Result(202, {"operationId": "op-1"})
    (ask,) = asked_of_device(rig)
    assert (ask.action, json.loads(bytes(ask.payload)), ask.reply_service) == (
        "TriggerMessage",
        {"requestedMessage": "SignChargingStationCertificate"},
        "auth",
    )
    trigger_ended(rig)
    assert state(rig)[0] == "triggered"
    rig.send(csr(STATION), TYPE)
    assert state(rig)[0] == "requested"
    rig.run(Outcome(rig.events("CertificateSigningStarted")))
    assert state(rig)[0] == "issued"
    rig.answer()
    assert state(rig) == ("installed", None)
    (row,) = rig.world.rows(RENEWALS)
    assert (row["identity"], len(str(row["fingerprint"])), row["actor"]) == (STATION, 64, "key-1")
    assert not waits(rig)
    assert rig.world.state(Renewal, f"{KEY}/renew/{TYPE}") is None


def test_a_v2g_renewal_names_its_evse() -> None:
    rig = Rig()
    renew(rig, "V2GCertificate", evse=2)
    assert json.loads(bytes(asked_of_device(rig)[0].payload)) == {
        "requestedMessage": "SignV2GCertificate",
        "evse": {"id": 2},
    }
    rig.sign(csr(STATION), TYPE)
    assert state(rig)[0] == "asked", "another certificate's request answers it not"
    rig.sign(csr("SECC-2"), "V2GCertificate")
    assert state(rig)[0] == "issued"


@pytest.mark.parametrize("order", ["answer first", "request first"])
def test_the_request_may_cross_the_answer_to_the_trigger(order: str) -> None:
    rig = Rig()
    rig.world.connect()
    renew(rig)
    if order == "answer first":
        trigger_ended(rig)
    rig.sign()
    if order == "request first":
        assert trigger_ended(rig).events == ()
    assert state(rig)[0] == "issued"


def test_a_trigger_that_times_out_once_the_request_has_come_ends_nothing() -> None:
    rig = Rig()
    rig.world.connect()
    renew(rig)
    rig.sign()
    assert trigger_ended(rig, "timeout").events == ()
    rig.answer()
    assert state(rig)[0] == "installed"


def test_the_end_of_an_earlier_renewals_trigger_is_not_this_ones() -> None:
    rig = Rig()
    renew(rig)
    rig.world.wait(60_000)
    rig.world.tick(WAIT, f"{KEY}/renew/{TYPE}")
    late = asked_of_device(rig)[0]
    renew(rig, operation="op-2")
    body = Ended(command_id=late.command_id, action="TriggerMessage", status="unknown", reference=late.reference)
    assert rig.world.ask(ENDED, body, key=KEY, actor="").events == ()
    assert state(rig, "op-2")[0] == "asked"


def test_a_request_without_a_type_answers_it_too_and_a_repeat_of_one_under_way() -> None:
    rig = Rig()
    text = csr(STATION)
    rig.sign(text)
    renew(rig)
    rig.send(text)
    assert state(rig)[0] == "requested"
    rig.world.connect()
    rig.answer()
    assert state(rig)[0] == "installed"


def test_only_one_of_a_type_at_a_time() -> None:
    rig = Rig()
    renew(rig)
    refused = renew(rig, operation="op-2").result
    assert refused is not None
    assert refused.status == 409
    assert len(asked_of_device(rig)) == 1
    renew(rig, "V2GCertificate", "op-3")
    assert len(asked_of_device(rig)) == 2


@pytest.mark.parametrize(
    ("status", "answer", "ends"),
    [
        ("answered", "Rejected", ("rejected", "TriggerMessage: Rejected")),
        ("answered", "NotImplemented", ("rejected", "TriggerMessage: NotImplemented")),
        ("not_connected", "", ("failed", "TriggerMessage: not_connected")),
        ("timeout", "", ("failed", "TriggerMessage: timeout")),
        ("unknown", "", ("failed", "TriggerMessage: unknown")),
    ],
)
def test_a_trigger_that_fails_ends_it(status: str, answer: str, ends: tuple[str, str]) -> None:
    rig = Rig()
    renew(rig)
    trigger_ended(rig, status, answer)
    assert state(rig) == ends
    assert not waits(rig)
    renew(rig, operation="op-2")
    assert state(rig, "op-2")[0] == "asked"


def test_a_callerror_is_told() -> None:
    rig = Rig()
    renew(rig)
    trigger_ended(rig, "error", error=msgspec.Raw(b'{"code": "NotSupported", "description": ""}'))
    assert state(rig) == ("failed", "TriggerMessage: error: NotSupported")


def test_a_station_that_rejects_its_certificate_ends_it() -> None:
    rig = Rig()
    rig.world.connect()
    renew(rig)
    rig.sign()
    rig.answer("Rejected", reasonCode="InvalidCertificate")
    assert state(rig) == ("rejected", "CertificateSigned: Rejected InvalidCertificate")


def test_an_authority_that_fails_ends_it() -> None:
    rig = Rig(signing_attempts=1)
    rig.store.tables.states.clear()
    renew(rig)
    rig.sign()
    assert state(rig) == ("failed", "the local authority has no keys yet")


def test_no_answer_to_the_certificate_ends_it() -> None:
    rig = Rig(sends=1)
    rig.world.connect()
    renew(rig)
    rig.sign()
    rig.error()
    assert state(rig)[0] == "failed"


@pytest.mark.parametrize("triggered", [False, True])
def test_no_request_in_time_ends_it(triggered: bool) -> None:
    rig = Rig()
    renew(rig)
    if triggered:
        trigger_ended(rig)
    ((_, subject),) = [one for one in rig.world.timers if one[0] == WAIT]
    rig.world.wait(60_000)
    rig.world.tick(WAIT, subject)
    assert state(rig)[0] == "no_effect"
    assert not waits(rig)
    rig.world.connect()
    rig.sign()
    rig.answer()
    assert state(rig)[0] == "no_effect", "what comes later is no renewal's"


def test_another_request_of_the_station_takes_over() -> None:
    """It made a third key before the second was signed: the renewal ends with whichever is taken."""
    rig = Rig()
    rig.world.connect()
    renew(rig)
    rig.send(csr(STATION))
    rig.sign(csr(STATION))
    rig.answer()
    assert state(rig)[0] == "installed"


# An expired certificate


def timers(rig: Rig) -> set[str]:
    return {name for name, _ in rig.world.timers}


@pytest.mark.requirement("A00.FR.429", "A00.FR.807")
def test_a_station_that_comes_with_an_expired_certificate_is_asked_to_renew_it_at_once() -> None:
    rig = Rig()
    rig.world.connect(profile=3, certificate_name=STATION, certificate_expired=True)
    assert asked_of_device(rig) == [], "it is to boot first"
    rig.world.connect(epoch=2, profile=3, certificate_name=STATION, certificate_expired=True)
    rig.world.wait(BOOT_MS)
    rig.world.tick(TRIGGER, f"{KEY}/renew/{TYPE}")
    (ask,) = asked_of_device(rig)
    assert json.loads(bytes(ask.payload)) == {"requestedMessage": "SignChargingStationCertificate"}
    assert TRIGGER not in timers(rig)
    trigger_ended(rig)
    rig.sign()
    rig.answer()
    (row,) = rig.world.rows(RENEWALS)
    assert (row["state"], row["actor"]) == ("installed", "")


def test_one_that_asks_for_itself_is_not_asked() -> None:
    rig = Rig()
    rig.world.connect(profile=3, certificate_expired=True)
    rig.sign()
    assert TRIGGER not in timers(rig)
    rig.answer()
    assert rig.world.rows(RENEWALS)[0]["state"] == "installed"


@pytest.mark.parametrize("uses", [frozenset(), frozenset({"ChargingStationCertificate"})])
def test_nobody_is_asked_without_need_or_without_an_authority(uses: frozenset[CertificateUse]) -> None:
    rig = Rig(uses=uses)
    rig.world.connect(profile=3, certificate_expired=not uses)
    rig.world.connect(connected=False, certificate_expired=True)
    assert rig.world.rows(RENEWALS) == []
