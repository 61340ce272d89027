import pytest

from simulator.inputs import PlugIn, PresentToken

from ..bench import START, TOKEN, Bench, booted
from .samples import profile, rfc3339


def charging() -> Bench:
    bench = booted()
    bench.do(PlugIn(1))
    bench.do(PresentToken(1, TOKEN))
    return bench.run(10)


def power(bench: Bench) -> float:
    return float(bench.events[-1]["meterValue"][0]["sampledValue"][1]["value"])


def test_a_profile_limits_the_power_at_once_and_says_so() -> None:
    bench = charging()
    assert bench.ask("SetChargingProfile", {"evseId": 1, "chargingProfile": profile(1)})["status"] == "Accepted"
    bench.run(1)
    assert bench.events[-1]["triggerReason"] == "ChargingRateChanged"
    assert power(bench) == 6_000
    bench.ask("ClearChargingProfile", {"chargingProfileId": 1})
    bench.run(1)
    assert power(bench) > 6_000


def test_a_limit_of_zero_suspends() -> None:
    bench = charging()
    bench.ask("SetChargingProfile", {"evseId": 0, "chargingProfile": profile(1, limit=0)})
    bench.run(1)
    assert bench.events[-1]["transactionInfo"]["chargingState"] == "SuspendedEVSE"


def test_amperes_count_per_phase() -> None:
    bench = charging()
    amps = profile(1)
    amps["chargingSchedule"][0] |= {
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 6, "numberPhases": 1}],
    }
    bench.ask("SetChargingProfile", {"evseId": 1, "chargingProfile": amps})
    bench.run(1)
    assert power(bench) == 1_380


def test_a_tx_profile_needs_its_transaction_and_ends_with_it() -> None:
    bench = charging()
    transaction_id = bench.events[0]["transactionInfo"]["transactionId"]
    wrong = profile(1, "TxProfile", transactionId="other")
    right = profile(1, "TxProfile", transactionId=transaction_id)
    assert bench.ask("SetChargingProfile", {"evseId": 1, "chargingProfile": wrong})["status"] == "Rejected"
    assert bench.ask("SetChargingProfile", {"evseId": 1, "chargingProfile": right})["status"] == "Accepted"
    bench.do(PresentToken(1, TOKEN))
    assert bench.station.profiles == ()


def test_a_tx_profile_overrules_the_default_but_not_the_stations_maximum() -> None:
    bench = charging()
    transaction_id = bench.events[0]["transactionInfo"]["transactionId"]
    own = profile(2, "TxProfile", 7_000, transactionId=transaction_id)
    most = profile(3, "ChargingStationMaxProfile", 5_000)
    for evse_id, installed, expected in ((1, profile(1), 6_000), (1, own, 7_000), (0, most, 5_000)):
        assert (
            bench.ask("SetChargingProfile", {"evseId": evse_id, "chargingProfile": installed})["status"] == "Accepted"
        )
        bench.run(1)
        assert power(bench) == expected


@pytest.mark.parametrize(
    ("evse_id", "bad"),
    [
        (9, profile(1)),
        (1, profile(1, "ChargingStationMaxProfile")),
        (0, profile(1, "ChargingStationExternalConstraints")),
        (0, {**profile(1), "stackLevel": 99}),
    ],
)
def test_impossible_profiles_are_rejected(evse_id: int, bad: dict[str, object]) -> None:
    answer = booted().ask("SetChargingProfile", {"evseId": evse_id, "chargingProfile": bad})
    assert answer["status"] == "Rejected"


def test_installed_profiles_are_reported() -> None:
    bench = booted(evses=2)
    for evse_id in (1, 2):
        request = {"evseId": evse_id, "chargingProfile": profile(evse_id)}
        assert bench.ask("SetChargingProfile", request)["status"] == "Accepted"
    everything = {"requestId": 3, "chargingProfile": {"chargingProfilePurpose": "TxDefaultProfile"}}
    assert bench.ask("GetChargingProfiles", everything) == {"status": "Accepted"}
    bench.run(1)
    assert [(r["evseId"], r["tbc"]) for r in bench.sent("ReportChargingProfiles")] == [(1, True), (2, False)]
    nothing = {"requestId": 3, "chargingProfile": {"chargingProfileId": [77]}}
    assert bench.ask("GetChargingProfiles", nothing) == {"status": "NoProfiles"}


def test_the_composite_schedule_has_a_period_per_change() -> None:
    bench = booted()
    later = profile(1)
    later["chargingSchedule"][0] |= {
        "startSchedule": rfc3339(START + 600_000),
        "duration": 600,
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 9_000}, {"startPeriod": 300, "limit": 4_000}],
    }
    bench.ask("SetChargingProfile", {"evseId": 1, "chargingProfile": later})
    answer = bench.ask("GetCompositeSchedule", {"evseId": 1, "duration": 3600, "chargingRateUnit": "W"})
    periods = answer["schedule"]["chargingSchedulePeriod"]
    assert [(p["startPeriod"], p["limit"]) for p in periods] == [(0, 22000), (598, 9000), (898, 4000), (1198, 22000)]
