"""What lets a connection stay."""

import pytest

from services.gateway.copies import Station
from services.gateway.domain.grants import Grant, holds, profiles, promoted


def entry(**other) -> Station:
    return Station("cs1", "CS1", 1, "old", False, "Accepted", False)._replace(**other)


BASIC = Grant("cs1", 1, "old", "current")
CERTIFIED = Grant("cs1", 3, None, certificate_name="SN1", serial_number="SN1")
CERTAIN = entry(security_profile=3, serial_number="SN1")


@pytest.mark.parametrize(
    "change",
    [
        {"credential": "new"},
        {"credential": ""},
        {"disabled": True},
        {"security_profile": 2},
        {"controller": "lc"},
    ],
)
def test_a_change_of_what_let_it_in_ends_a_connection(change):
    now = entry(**change)

    assert holds(BASIC, entry(), entry())
    assert not holds(promoted(BASIC, entry(), now), now, now)


@pytest.mark.parametrize(
    "change",
    [
        {"next_credential": "new"},
        {"next_security_profile": 2},
        {"registration": "Pending"},
        {"serial_number": "SN1"},
        {"allow_expired_certificate": True},
    ],
)
def test_what_is_only_to_come_ends_none(change):
    now = entry(**change)

    assert promoted(BASIC, entry(), now) == BASIC
    assert holds(BASIC, now, now)


def test_who_came_with_the_next_password_goes_when_it_is_given_up():
    changing, given_up = entry(next_credential="new"), entry()
    early = BASIC._replace(credential="new", by="next")

    assert holds(early, changing, changing)
    assert not holds(promoted(early, changing, given_up), given_up, given_up)


def test_a_connection_stays_when_the_next_password_becomes_the_one_in_force():
    changing, done = entry(next_credential="new"), entry(credential="new")

    grant = promoted(BASIC, changing, done)

    assert holds(grant, done, done)
    later = done._replace(credential="newer")
    assert not holds(promoted(grant, done, later), later, later)


def test_a_connection_stays_when_the_next_profile_becomes_the_one_in_force():
    changing, done = entry(next_security_profile=2), entry(security_profile=2)

    assert holds(promoted(BASIC, changing, done), done, done)
    assert not holds(promoted(BASIC, entry(), done), done, done)


@pytest.mark.parametrize(
    "change, stays",
    [({"credential": "new"}, True), ({"serial_number": "SN2"}, False), ({"security_profile": 2}, False)],
)
def test_a_certificate_s_connection_lives_by_what_was_asked_of_the_certificate(change, stays):
    now = CERTAIN._replace(**change)

    assert holds(promoted(CERTIFIED, CERTAIN, now), now, now) is stays


def test_an_expired_certificate_counts_while_it_is_allowed():
    allowed = CERTAIN._replace(allow_expired_certificate=True)
    grant = CERTIFIED._replace(expired=True)

    assert holds(grant, allowed, allowed)
    assert not holds(grant, CERTAIN, CERTAIN)


def test_a_controller_s_connection_lives_by_the_controller_s_entry():
    station = entry(controller="lc")
    controller = Station("lc", "LC", 1, "of-lc", False, "Accepted", False)
    grant = Grant("lc", 1, "of-lc")

    assert holds(grant, station, controller)
    assert holds(grant, station._replace(credential="new"), controller)
    assert not holds(grant, station, controller._replace(credential="new"))
    assert not holds(grant, station, controller._replace(disabled=True))
    assert not holds(grant, station._replace(disabled=True), controller)
    assert not holds(grant, station._replace(controller=""), controller)
    assert not holds(grant, station, None)


def test_the_highest_profile_comes_first():
    assert profiles(entry(security_profile=2, next_security_profile=3)) == (3, 2)
    assert profiles(entry(security_profile=2)) == (2,)
