"""Charge detail records for other systems, and for drivers."""

import csv
import io
import json
from datetime import datetime
from typing import Any

import msgspec
import pytest

from ocppcore.contracts.charge_details import ChargeDetail
from ocppcore.contracts.device import ConnectorSpec, EvseSpec, StationState
from services.transactions import receipt
from services.transactions.domain.charge_detail import credit_of
from services.transactions.export import Party, csv_header, csv_row, json_line, ocpi_line
from tests.support.charge_details import detail
from tests.support.tariffs import course, tariff

PARTY = Party("NL", "TNM", "Main street 1", "Utrecht", "NLD", "52.09074", "5.12142")
STATION = StationState(
    id="CS-1",
    security_profile=1,
    credential=None,
    registration="Accepted",
    evses=(EvseSpec(id=1, connectors=(ConnectorSpec(id=2, type="cCCS2"),)),),
)
TARIFF = tariff({"ENERGY": ("0.30", 1, "19"), "PARKING_TIME": ("3.00", 60, "19"), "FLAT": "1.00"}, id="day")
CHARGED = course("2026-06-01T16:55+02:00", (20, 3.5), (40, 6.5), (30, None))
MADE = detail(CHARGED, TARIFF)


def ocpi(one: ChargeDetail, station: StationState | None = STATION) -> dict[str, Any]:
    line = ocpi_line(one, PARTY, station)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    return json.loads(line)  # type: ignore[no-any-return]


def test_an_ocpi_cdr_has_what_2_2_1_requires() -> None:
    cdr = ocpi(MADE)
    required = {
        "country_code", "party_id", "id", "start_date_time", "end_date_time", "cdr_token", "auth_method",
        "cdr_location", "currency", "charging_periods", "total_cost", "total_energy", "total_time", "last_updated",
    }  # fmt: skip
    assert required <= cdr.keys()
    assert len(cdr["id"]) <= 39
    assert {"country_code", "party_id", "uid", "type", "contract_id"} == cdr["cdr_token"].keys()
    location = {
        "id", "address", "city", "country", "coordinates", "evse_uid", "evse_id", "connector_id", "connector_standard",
        "connector_format", "connector_power_type",
    }  # fmt: skip
    assert location <= cdr["cdr_location"].keys()
    assert (cdr["total_energy"], cdr["total_time"], cdr["total_parking_time"]) == (10.0, 1.5, 0.5)
    assert cdr["total_cost"] == {"excl_vat": 5.5, "incl_vat": 6.36}
    volumes = [dim for period in cdr["charging_periods"] for dim in period["dimensions"]]
    assert sum(dim["volume"] for dim in volumes if dim["type"] == "ENERGY") == 10.0
    assert {dim["type"] for dim in volumes} == {"ENERGY", "TIME", "PARKING_TIME"}
    assert datetime.fromisoformat(cdr["end_date_time"]) > datetime.fromisoformat(cdr["start_date_time"])
    assert (cdr["cdr_location"]["connector_standard"], cdr["auth_method"]) == ("IEC_62196_T2_COMBO", "AUTH_REQUEST")


def test_an_ocpi_credit_names_what_it_takes_back() -> None:
    cdr = ocpi(credit_of(MADE, 2, "late"))
    assert (cdr["credit"], cdr["credit_reference_id"]) == (True, MADE.id)
    assert cdr["total_cost"] == {"excl_vat": -5.5, "incl_vat": -6.36}
    assert cdr["total_energy"] == -10.0
    assert len(cdr["charging_periods"]) == 1


@pytest.mark.parametrize(
    ("more", "type_", "method"),
    [
        ({"token_type": "Central", "remote_start_id": 7}, "APP_USER", "COMMAND"),
        ({"token": "", "token_type": ""}, "AD_HOC_USER", "WHITELIST"),
        ({"token_type": "eMAID"}, "OTHER", "AUTH_REQUEST"),
    ],
)
def test_tokens_and_methods_of_ocpi(more: dict[str, Any], type_: str, method: str) -> None:
    cdr = ocpi(msgspec.structs.replace(MADE, **more), None)
    assert (cdr["cdr_token"]["type"], cdr["auth_method"]) == (type_, method)
    assert "connector_standard" not in cdr["cdr_location"]


def test_csv_and_json_lines_hold_the_record() -> None:
    (row,) = csv.DictReader(io.StringIO(csv_header() + csv_row(MADE)))
    assert (row["energyWh"], row["exclVat"], row["inclVat"], row["currency"]) == ("10000.0", "5.50", "6.36", "EUR")
    assert (row["chargingSeconds"], row["parkingSeconds"], row["startedAt"]) == (
        "3600", "1800", "2026-06-01T14:55:00.000Z",
    )  # fmt: skip
    assert msgspec.json.decode(json_line(MADE), type=ChargeDetail) == MADE


def test_no_cell_of_a_csv_is_a_formula() -> None:
    hostile = msgspec.structs.replace(MADE, identity="=1+1", transaction_id='-cmd,"x"\n')
    (row,) = csv.DictReader(io.StringIO(csv_header() + csv_row(hostile)))
    assert (row["stationId"], row["transactionId"]) == ("'=1+1", '\'-cmd,"x"\n')
    (credit,) = csv.DictReader(io.StringIO(csv_header() + csv_row(credit_of(MADE, 2, "late"))))
    assert credit["exclVat"] == "-5.50"


def test_a_receipt_shows_every_component_by_the_clock_of_the_place() -> None:
    said = dict(receipt.rows(MADE))
    assert (said["From"], said["To"]) == ("2026-06-01 16:55:00 CEST", "2026-06-01 18:25:00 CEST")
    assert (said["Energy"], said["For the start"]) == ("10 kWh", "1 EUR")
    assert (said["Without VAT"], said["VAT"], said["Total"]) == ("5.50 EUR", "0.86 EUR", "6.36 EUR")
    assert receipt.text(MADE).count("\n") == len(receipt.rows(MADE))
    assert said["For energy"] == "10 kWh at 0.3 EUR/kWh = 3, VAT 19 %"
    assert said["For parking"] == "30 min at 3 EUR/h = 1.5, VAT 19 %"


def test_a_receipt_says_what_is_not_known_and_what_it_takes_back() -> None:
    estimated = msgspec.structs.replace(MADE, grade="estimated", ended_at=None)
    assert dict(receipt.rows(estimated))["To"] == "not reported"
    assert "never reported the end" in receipt.text(estimated)
    assert f"For receipt  {MADE.id}" in receipt.text(credit_of(MADE, 2, "late"))
    assert "<script>" not in receipt.html(msgspec.structs.replace(MADE, identity="<script>"))
