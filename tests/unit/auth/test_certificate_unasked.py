"""Renewal that nobody asked for: of certificates that near their end, and of those that stations brought along."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ocppcore import topics
from ocppcore.contracts.certificates import CertificateRenewalAsked, RenewCertificate, RenewUnasked, RevokeCertificate
from ocppcore.contracts.device import Automatic, StationState
from ocppcore.service import Outcome
from services.auth.domain.certificate import CERTIFICATES, DAY_MS, EXPIRY, RENEW
from services.auth.domain.certificate_renewal import BOOT_MS, RENEWALS, TRIGGER, WAIT
from services.auth.domain.certificate_signing import HOUR_MS, Rules
from services.auth.domain.certificate_unasked import PAUSE_MS, PAUSE_MS_MAX, QUEUE_MS, WAIT_MS
from tests.support.csrs import csr
from tests.unit.auth.signing_rig import KEY, STATION, Rig
from tests.unit.auth.test_certificate_renewal import TYPE, asked_of_device, state, trigger_ended


def known(rig: Rig, allowed: bool = True, **more: Any) -> None:
    """What the registry says of the station."""
    given: dict[str, Any] = {
        "id": STATION,
        "security_profile": 3,
        "credential": None,
        "registration": "Accepted",
    } | more
    there = StationState(automatic=Automatic(certificates=allowed), **given)
    rig.world.given_copy(topics.STATIONS, KEY, there)


def in_use(kind: str = TYPE, allowed: bool = True, **rules: Any) -> Rig:
    """A station that uses a certificate of ours."""
    rig = Rig(**rules)
    known(rig, allowed)
    rig.world.connect(profile=3, certificate_name="")
    rig.sign(csr(STATION), kind)
    rig.answer()
    return rig


def subject(rig: Rig) -> str:
    ((_, found),) = [timer for timer in rig.world.timers if timer[0] == RENEW]
    return found


def not_after(rig: Rig) -> int:
    (row,) = rig.world.rows(CERTIFICATES)
    return int(str(row["not_after"]))


def due(rig: Rig) -> int:
    return rig.world.timers[RENEW, subject(rig)]


def look(rig: Rig) -> Outcome:
    """The time has come; auth is asked, by its own record, whether the station may be."""
    at = subject(rig)
    rig.world.now = due(rig)
    rig.world.tick(RENEW, at)
    return carried(rig)


def carried(rig: Rig) -> Outcome:
    record = [one for one in rig.world.records if one.headers["ce_type"] == RenewUnasked.NAME][-1]
    assert (record.topic, record.key) == (topics.requests("auth"), KEY)
    return rig.world.ask(
        RenewUnasked.NAME, msgspec.json.decode(record.value, type=RenewUnasked), key=record.key, actor=""
    )


def asked(outcome: Outcome) -> list[CertificateRenewalAsked]:
    return [event for event in outcome.events if isinstance(event, CertificateRenewalAsked)]


@pytest.mark.requirement("A02.FR.01")
def test_a_certificate_is_renewed_thirty_days_before_its_end() -> None:
    rig = in_use()
    assert due(rig) == not_after(rig) - 30 * DAY_MS
    old = subject(rig)
    (event,) = asked(look(rig))
    assert (event.unasked, event.actor, event.station) == ("ending", "", STATION)
    (ask,) = asked_of_device(rig)
    assert (ask.action, ask.queue_for_ms) == ("TriggerMessage", QUEUE_MS)
    trigger_ended(rig)
    rig.sign(csr(STATION), TYPE)
    rig.answer()
    assert state(rig, event.operation_id)[0] == "installed"
    assert subject(rig) != old, "the old one is renewed no more, the new one will be"
    assert due(rig) > event.at


@pytest.mark.parametrize(
    ("days", "life", "left"), [(30, 365, 30), (10, 365, 10), (30, 90, 30), (30, 30, 10), (365, 365, 365 // 3)]
)
def test_one_that_lives_shortly_is_renewed_in_the_last_third_of_its_life(days: int, life: int, left: int) -> None:
    rules = Rules(renew_before_ms=days * DAY_MS)
    assert (life * DAY_MS - rules.renew_at(0, life * DAY_MS)) // DAY_MS == left


def test_a_station_that_allows_nothing_unasked_is_asked_nothing() -> None:
    rig = in_use(allowed=False)
    assert look(rig).events == ()
    assert asked_of_device(rig) == []
    known(rig, allowed=True)
    assert len(asked(look(rig))) == 1, "but it is looked at again"


def test_a_setting_allows_it_for_all_stations() -> None:
    rig = in_use(allowed=False, renew_unasked=True)
    assert len(asked(look(rig))) == 1


@pytest.mark.parametrize("more", [{"disabled": True}, {"deleted": True}, None])
def test_a_station_that_may_not_connect_is_not_asked(more: dict[str, Any] | None) -> None:
    rig = in_use()
    if more is None:
        rig.world.given_copy(topics.STATIONS, KEY, None)
    else:
        known(rig, **more)
    assert look(rig).events == ()


def test_pauses_between_attempts_grow_until_the_certificate_ends() -> None:
    rig = in_use()
    pauses = []
    while any(name == RENEW for name, _ in rig.world.timers):
        assert len(asked(look(rig))) == 1
        began = rig.world.now
        rig.world.wait(WAIT_MS)
        rig.world.tick(WAIT, f"{KEY}/renew/{TYPE}")
        if any(name == RENEW for name, _ in rig.world.timers):
            pauses.append(due(rig) - began)
    assert pauses[:5] == [PAUSE_MS, 2 * PAUSE_MS, 4 * PAUSE_MS, 8 * PAUSE_MS, PAUSE_MS_MAX]
    assert set(pauses[4:]) == {PAUSE_MS_MAX}
    assert WAIT_MS < PAUSE_MS, "one has ended before the next begins"
    assert {row["state"] for row in rig.world.rows(RENEWALS)} == {"no_effect"}
    assert rig.world.now < not_after(rig)


def by_a_person(rig: Rig) -> None:
    body = RenewCertificate(
        operation_id="op-1", command_id="op-1-trigger", certificate_type=TYPE, wait_ms=HOUR_MS, identity=STATION
    )
    rig.world.ask(RenewCertificate.NAME, body, key=KEY)


def by_itself(rig: Rig) -> None:
    rig.send(csr(STATION), TYPE)


@pytest.mark.parametrize("other", [by_a_person, by_itself])
def test_never_two_at_a_time(other: Callable[[Rig], None]) -> None:
    rig = in_use()
    rig.world.now = due(rig)
    rig.world.tick(RENEW, subject(rig))
    other(rig)
    assert carried(rig).events == ()


def test_the_same_record_twice_asks_once() -> None:
    rig = in_use()
    look(rig)
    assert carried(rig).events == ()
    assert len(asked_of_device(rig)) == 1


@pytest.mark.parametrize("how", ["revoked", "expired", "superseded"])
def test_one_that_is_not_in_use_any_more_is_not_renewed(how: str) -> None:
    rig = in_use()
    old = subject(rig)
    if how == "revoked":
        body = RevokeCertificate(fingerprint=old.partition("/")[2])
        rig.world.ask(RevokeCertificate.NAME, body, key=KEY)
    elif how == "superseded":
        rig.sign(csr(STATION), TYPE)
        rig.answer()
    else:
        rig.world.now = not_after(rig)
        rig.world.tick(EXPIRY, old)
    assert (RENEW, old) not in rig.world.timers


def test_one_that_was_revoked_between_look_and_decision_is_not_renewed() -> None:
    rig = in_use()
    old = subject(rig)
    rig.world.now = due(rig)
    rig.world.tick(RENEW, old)
    rig.world.ask(RevokeCertificate.NAME, RevokeCertificate(fingerprint=old.partition("/")[2]), key=KEY)
    assert carried(rig).events == ()


def test_a_certificate_that_was_never_accepted_is_not_renewed() -> None:
    rig = Rig()
    rig.world.connect()
    rig.sign()
    assert all(name != RENEW for name, _ in rig.world.timers)
    rig.answer("Rejected")
    assert all(name != RENEW for name, _ in rig.world.timers)


def test_a_v2g_certificate_is_renewed_too() -> None:
    rig = in_use("V2GCertificate")
    (event,) = asked(look(rig))
    assert event.certificate_type == "V2GCertificate"
    assert b"SignV2GCertificate" in bytes(asked_of_device(rig)[0].payload)


# Certificates of others


@pytest.mark.requirement("A00.FR.406")
def test_a_station_that_brings_a_certificate_of_others_gets_one_of_ours() -> None:
    rig = Rig()
    known(rig)
    rig.world.connect(profile=3, certificate_name=STATION)
    (event,) = asked(carried(rig))
    assert (event.unasked, event.trigger_at) == ("foreign", rig.world.now + BOOT_MS)
    assert asked_of_device(rig) == [], "it is to boot first"
    rig.world.wait(BOOT_MS)
    rig.world.tick(TRIGGER, f"{KEY}/renew/{TYPE}")
    assert asked_of_device(rig)[0].queue_for_ms == 0
    trigger_ended(rig)
    rig.sign()
    rig.answer()
    assert state(rig, event.operation_id)[0] == "installed"
    rig.world.wait(10 * PAUSE_MS_MAX)
    rig.world.connect(epoch=2, profile=3, certificate_name=STATION)
    assert len(rig.events("CertificateRenewalPlanned")) == 1


def test_one_that_reconnects_is_asked_again_only_after_a_pause() -> None:
    rig = Rig()
    known(rig)
    rig.world.connect(profile=3, certificate_name=STATION)
    rig.world.connect(epoch=2, profile=3, certificate_name=STATION)
    assert len(rig.events("CertificateRenewalPlanned")) == 1
    rig.world.wait(PAUSE_MS)
    rig.world.connect(epoch=3, profile=3, certificate_name=STATION)
    assert [event.attempt for event in rig.events("CertificateRenewalPlanned")] == [1, 2]  # type: ignore[attr-defined]


def test_it_is_not_asked_where_that_is_not_allowed() -> None:
    rig = Rig()
    known(rig, allowed=False)
    rig.world.connect(profile=3, certificate_name=STATION)
    assert carried(rig).events == ()


@pytest.mark.parametrize(
    "how",
    [
        {"profile": 2},
        {"profile": 3, "certificate_name": ""},
        {"profile": 3, "certificate_name": STATION, "connected": False},
    ],
)
def test_who_shows_no_certificate_of_its_own_is_left_alone(how: dict[str, Any]) -> None:
    """A Local Controller's certificate is not the station's."""
    rig = Rig()
    known(rig)
    rig.world.connect(**how)
    assert rig.events("CertificateRenewalPlanned") == []


def test_without_an_authority_nobody_is_asked() -> None:
    rig = Rig(uses=frozenset())
    known(rig)
    rig.world.connect(profile=3, certificate_name=STATION)
    assert rig.events("CertificateRenewalPlanned") == []
