"""Charge detail records for other systems: as CSV, as JSON lines, as CDR objects of OCPI 2.2.1. Pure.

An OCPI CDR names the place of the station, which this system does not know: `Party` says what stands there.
"""

import csv
import io
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from ocppcore.clock import to_rfc3339
from ocppcore.contracts.charge_details import ChargeDetail
from ocppcore.contracts.device import StationState
from ocppcore.csv_cells import inert

HOUR_MS: Final = Decimal(3_600_000)
NO_CURRENCY: Final = 3 * "X"
"""ISO 4217: no currency is involved."""
FINE: Final = Decimal("0.0001")
"""OCPI: numbers have at most four decimal places."""

COLUMNS: Final = (
    "id", "version", "kind", "why", "credits", "grade", "stationId", "transactionId", "evseId", "connectorId", "token",
    "tokenType", "startedAt", "endedAt", "stoppedReason", "meterStartWh", "meterStopWh", "energyWh", "chargingSeconds",
    "parkingSeconds", "currency", "exclVat", "inclVat", "limit",
)  # fmt: skip

_number = msgspec.json.Encoder(decimal_format="number")

TOKEN_TYPES: Final[Mapping[str, str]] = {"ISO14443": "RFID", "ISO15693": "RFID", "Central": "APP_USER"}
CONNECTORS: Final[Mapping[str, tuple[str, str, str]]] = {
    "cCCS1": ("IEC_62196_T1_COMBO", "CABLE", "DC"),
    "cCCS2": ("IEC_62196_T2_COMBO", "CABLE", "DC"),
    "cG105": ("CHADEMO", "CABLE", "DC"),
    "cTesla": ("TESLA_S", "CABLE", "DC"),
    "cType1": ("IEC_62196_T1", "CABLE", "AC_1_PHASE"),
    "cType2": ("IEC_62196_T2", "CABLE", "AC_3_PHASE"),
    "s309-1P-16A": ("IEC_60309_2_single_16", "SOCKET", "AC_1_PHASE"),
    "s309-1P-32A": ("IEC_60309_2_single_16", "SOCKET", "AC_1_PHASE"),
    "s309-3P-16A": ("IEC_60309_2_three_16", "SOCKET", "AC_3_PHASE"),
    "s309-3P-32A": ("IEC_60309_2_three_32", "SOCKET", "AC_3_PHASE"),
    "sCEE-7-7": ("DOMESTIC_F", "SOCKET", "AC_1_PHASE"),
    "sType2": ("IEC_62196_T2", "SOCKET", "AC_3_PHASE"),
    "sType3": ("IEC_62196_T3C", "SOCKET", "AC_3_PHASE"),
}
"""ConnectorEnumType -> standard, format and power type of OCPI, where one follows from the other."""


class Party(NamedTuple):
    """Who issues OCPI CDRs, and where the stations stand. `country` of the location: ISO 3166-1 alpha-3."""

    country_code: str
    party_id: str
    address: str = "unknown"
    city: str = "unknown"
    country: str = ""
    latitude: str = "0.00000"
    longitude: str = "0.00000"


def csv_header() -> str:
    return _row(COLUMNS)


def csv_row(one: ChargeDetail) -> str:
    """One record on a line (RFC 4180); energy and amounts as decimals, times as RFC 3339."""
    return _row(
        (
            one.id, one.version, one.kind, one.why, one.credits, one.grade, one.identity, one.transaction_id,
            one.evse_id, one.connector_id, one.token, one.token_type, _time(one.started_at), _time(one.ended_at),
            one.stopped_reason,
            one.meter_start_wh, one.meter_stop_wh, format(one.energy_wh, "f"), _seconds(one.charging_ms),
            _seconds(one.parking_ms), one.currency, format(one.excl_vat, "f"), format(one.incl_vat, "f"), one.limit,
        )
    )  # fmt: skip


def _row(values: tuple[object, ...]) -> str:
    """What stations spell is no formula in whatever opens the file."""
    written = io.StringIO()
    csv.writer(written).writerow(["" if value is None else inert(str(value)) for value in values])
    return written.getvalue()


def json_line(one: ChargeDetail) -> bytes:
    """The whole record as it is kept, on a line."""
    return msgspec.json.encode(one) + b"\n"


def ocpi_line(one: ChargeDetail, party: Party, station: StationState | None) -> bytes:
    """The record as an OCPI 2.2.1 CDR object, on a line."""
    return _number.encode(ocpi(one, party, station)) + b"\n"


def ocpi(one: ChargeDetail, party: Party, station: StationState | None) -> dict[str, Any]:
    """The CDR object; its token's uid is the pseudonym. Of a credit one period holds what is taken back."""
    start, end = _time(one.started_at or one.ended_at), _time(one.ended_at or one.started_at)
    whole = one.charging_ms + one.parking_ms
    cdr: dict[str, Any] = {
        "country_code": party.country_code,
        "party_id": party.party_id,
        "id": one.id,
        "start_date_time": start,
        "end_date_time": end,
        "session_id": one.transaction_id,
        "cdr_token": {
            "country_code": party.country_code,
            "party_id": party.party_id,
            "uid": one.token or "none",
            "type": TOKEN_TYPES.get(one.token_type, "OTHER" if one.token else "AD_HOC_USER"),
            "contract_id": one.token or "none",
        },
        "auth_method": "COMMAND" if one.remote_start_id is not None else "AUTH_REQUEST" if one.token else "WHITELIST",
        "cdr_location": _location(one, party, station),
        "currency": one.currency or NO_CURRENCY,
        "charging_periods": _periods(one) or [_period(start, one.energy_wh, one.charging_ms, one.parking_ms, "")],
        "total_cost": {"excl_vat": one.excl_vat, "incl_vat": one.incl_vat},
        "total_energy": _fine(one.energy_wh / 1000),
        "total_time": _fine(whole / HOUR_MS),
        "total_parking_time": _fine(one.parking_ms / HOUR_MS),
        "last_updated": end,
    }
    if one.kind == "credit":
        cdr |= {"credit": True, "credit_reference_id": one.credits}
    return cdr


def _location(one: ChargeDetail, party: Party, station: StationState | None) -> dict[str, Any]:
    location: dict[str, Any] = {
        "id": one.station[:36],
        "name": one.identity,
        "address": party.address,
        "city": party.city,
        "country": party.country,
        "coordinates": {"latitude": party.latitude, "longitude": party.longitude},
        "evse_uid": str(one.evse_id if one.evse_id is not None else 0),
        "evse_id": f"{party.country_code}*{party.party_id}*E{one.identity}*{one.evse_id or 0}"[:48],
        "connector_id": str(one.connector_id if one.connector_id is not None else 0),
    }
    types = {
        (evse.id, connector.id): connector.type
        for evse in (station.evses if station else ())
        for connector in evse.connectors
    }
    known = CONNECTORS.get(types.get((one.evse_id or 0, one.connector_id or 0), ""))
    if known:
        location |= dict(zip(("connector_standard", "connector_format", "connector_power_type"), known, strict=True))
    return location


def _periods(one: ChargeDetail) -> list[dict[str, Any]]:
    return [
        _period(
            _time(part.start),
            part.wh,
            (part.end - part.start) * part.charging,
            (part.end - part.start) * (not part.charging),
            part.tariff.partition("/")[2],
        )
        for part in one.periods
    ]


def _period(start: str, wh: Decimal, charging_ms: int, parking_ms: int, tariff: str) -> dict[str, Any]:
    dimensions: list[dict[str, Any]] = [{"type": "ENERGY", "volume": _fine(wh / 1000)}]
    for type_, lasted in (("TIME", charging_ms), ("PARKING_TIME", parking_ms)):
        if lasted:
            dimensions.append({"type": type_, "volume": _fine(lasted / HOUR_MS)})
    period: dict[str, Any] = {"start_date_time": start, "dimensions": dimensions}
    return period | {"tariff_id": tariff[:36]} if tariff else period


def _fine(number: Decimal) -> Decimal:
    return number.quantize(FINE)


def _seconds(ms: int) -> str:
    return format(Decimal(ms) / 1000, "f")


def _time(ms: int | None) -> str:
    return "" if ms is None else to_rfc3339(ms)
