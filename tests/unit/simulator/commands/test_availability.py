from simulator.frames import rfc3339
from simulator.inputs import IdToken, PlugIn, PresentToken, Unplug

from ..bench import START, TOKEN, Bench, booted

IN_TEN_MINUTES = rfc3339(START + 600_000)
RESERVATION = {"id": 1, "expiryDateTime": IN_TEN_MINUTES, "idToken": TOKEN.wire(), "evseId": 1}


def states(bench: Bench) -> list[tuple[int, int, str]]:
    sent = bench.sent("StatusNotification")
    return [(s["evseId"], s["connectorId"], s["connectorStatus"]) for s in sent]


def test_the_whole_station_goes_and_comes_back() -> None:
    bench = booted(evses=2)
    assert bench.ask("ChangeAvailability", {"operationalStatus": "Inoperative"}) == {"status": "Accepted"}
    bench.run(1)
    assert states(bench)[2:] == [(1, 1, "Unavailable"), (2, 1, "Unavailable")]
    bench.do(PlugIn(1))
    assert not bench.station.evse(1).plugged
    bench.ask("ChangeAvailability", {"operationalStatus": "Operative"})
    bench.run(1)
    assert states(bench)[4:] == [(1, 1, "Available"), (2, 1, "Available")]


def test_a_connector_that_was_switched_off_by_itself_stays_off() -> None:
    bench = booted(connectors=2)
    bench.ask("ChangeAvailability", {"operationalStatus": "Inoperative", "evse": {"id": 1, "connectorId": 2}})
    bench.ask("ChangeAvailability", {"operationalStatus": "Inoperative", "evse": {"id": 1}})
    bench.ask("ChangeAvailability", {"operationalStatus": "Operative", "evse": {"id": 1}})
    bench.run(1)
    assert [bench.station.evse(1).status(n) for n in (1, 2)] == ["Available", "Unavailable"]


def test_a_change_waits_for_the_transaction_and_outlives_a_reboot() -> None:
    bench = booted()
    bench.do(PlugIn(1))
    bench.do(PresentToken(1, TOKEN))
    bench.run(10)
    assert bench.ask("ChangeAvailability", {"operationalStatus": "Inoperative"}) == {"status": "Scheduled"}
    bench.run(1)
    assert bench.station.evse(1).operative
    bench.do(PresentToken(1, TOKEN))
    bench.do(Unplug(1))
    bench.run(1)
    assert states(bench)[-1] == (1, 1, "Unavailable")
    bench.ask("Reset", {"type": "Immediate"})
    bench.run(60)
    assert states(bench)[-1] == (1, 1, "Unavailable")


def test_a_reservation_keeps_the_evse_for_its_token() -> None:
    bench = booted()
    assert bench.ask("ReserveNow", RESERVATION) == {"status": "Accepted"}
    bench.run(1)
    assert states(bench)[-1] == (1, 1, "Reserved")
    bench.do(PresentToken(1, IdToken("OTHER")))
    bench.run(1)
    assert not bench.sent("Authorize")
    bench.do(PresentToken(1, TOKEN))
    bench.do(PlugIn(1))
    bench.run(10)
    assert bench.events[0]["reservationId"] == 1
    assert "reservationId" not in bench.events[1]


def test_a_reservation_expires_and_says_so() -> None:
    bench = booted()
    bench.ask("ReserveNow", RESERVATION)
    bench.run(700)
    expected = [{"reservationId": 1, "reservationUpdateStatus": "Expired"}]
    assert bench.sent("ReservationStatusUpdate") == expected
    assert states(bench)[-1] == (1, 1, "Available")


def test_a_reservation_can_be_cancelled_replaced_or_impossible() -> None:
    bench = booted(evses=2)
    bench.ask("ReserveNow", RESERVATION)
    assert bench.ask("ReserveNow", {**RESERVATION, "id": 2}) == {"status": "Occupied"}
    assert bench.ask("ReserveNow", {**RESERVATION, "evseId": 2}) == {"status": "Accepted"}
    assert [bench.station.evse(n).status(1) for n in (1, 2)] == ["Available", "Reserved"]
    assert bench.ask("CancelReservation", {"reservationId": 1}) == {"status": "Accepted"}
    assert bench.ask("CancelReservation", {"reservationId": 1})["status"] == "Rejected"
    bench.ask("ChangeAvailability", {"operationalStatus": "Inoperative", "evse": {"id": 1}})
    assert bench.ask("ReserveNow", RESERVATION) == {"status": "Unavailable"}


def test_a_reservation_ends_when_its_evse_becomes_unavailable() -> None:
    bench = booted()
    bench.ask("ReserveNow", RESERVATION)
    bench.ask("ChangeAvailability", {"operationalStatus": "Inoperative"})
    bench.run(1)
    expected = [{"reservationId": 1, "reservationUpdateStatus": "Removed"}]
    assert bench.sent("ReservationStatusUpdate") == expected


def test_a_station_that_takes_no_reservations_rejects_them() -> None:
    bench = booted()
    request = {"component": {"name": "ReservationCtrlr"}, "variable": {"name": "Enabled"}, "attributeValue": "false"}
    bench.ask("SetVariables", {"setVariableData": [request]})
    assert bench.ask("ReserveNow", RESERVATION)["status"] == "Rejected"
    assert bench.station.evse(1).status(1) == "Available"
