"""How routes are named in documents, metrics and the audit."""

from ocppcore.http.paths import template


def test_a_route_is_named_as_people_write_it() -> None:
    assert template("/tokens/{type}/{idToken:path}") == "/tokens/{type}/{idToken}"
    assert template("/stations/{stationId}/remote-stop") == "/stations/{stationId}/remote-stop"
