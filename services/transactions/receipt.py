"""A receipt of a charge detail record, as plain text or as a page: for a driver, by the clock of the place. Pure."""

from datetime import datetime
from decimal import Decimal
from html import escape
from typing import Final
from zoneinfo import ZoneInfo

from ocppcore.contracts.charge_details import ChargeDetail, ChargeLine

NAMES: Final = {"ENERGY": "For energy", "TIME": "For charging", "PARKING_TIME": "For parking", "FLAT": "For the start"}
GRADES: Final = {
    "gaps": "Some of the station's messages are missing: rated by those that came.",
    "estimated": "The station never reported the end: rated by what it said last.",
    "disputed": "The station contradicted itself: what it said first counts.",
}


def rows(one: ChargeDetail) -> list[tuple[str, str]]:
    """What a receipt says, line by line: name and value."""
    found = [
        ("Credit note" if one.kind == "credit" else "Receipt", one.id),
        *([("For receipt", one.credits)] if one.credits else []),
        ("Station", f"{one.identity}, EVSE {one.evse_id}" if one.evse_id is not None else one.identity),
        ("Transaction", one.transaction_id),
        ("From", _at(one.started_at, one.zone)),
        ("To", _at(one.ended_at, one.zone)),
        ("Energy", f"{_plain(one.energy_wh / 1000)} kWh"),
    ]
    if one.meter_start_wh and one.meter_stop_wh:
        found.append(("Meter", f"{one.meter_start_wh} Wh to {one.meter_stop_wh} Wh"))
    if one.grade in GRADES:
        found.append(("Note", GRADES[one.grade]))
    if not one.currency:
        return [*found, ("Total", "free of charge")]
    found += [(NAMES[line.dimension], _line(line, one.currency)) for line in one.lines]
    if one.limit:
        found.append((f"{one.limit.capitalize()}imum price", f"{_money(one.excl_vat, one.currency)} without VAT"))
    return [
        *found,
        ("Without VAT", _money(one.excl_vat, one.currency)),
        ("VAT", _money(one.incl_vat - one.excl_vat, one.currency)),
        ("Total", _money(one.incl_vat, one.currency)),
    ]


def text(one: ChargeDetail) -> str:
    """The receipt as lines of text."""
    said = rows(one)
    wide = max(len(name) for name, _ in said)
    return "".join(f"{name:<{wide}}  {value}\n" for name, value in said)


def html(one: ChargeDetail) -> str:
    """The receipt as a page that needs nothing else."""
    body = "".join(f"<tr><th scope=row>{escape(name)}</th><td>{escape(value)}</td></tr>\n" for name, value in rows(one))
    style = "body{font-family:sans-serif;max-width:40em;margin:2em auto}th{text-align:left;padding-right:2em}"
    return (
        f"<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>Receipt {escape(one.id)}</title>"
        f"<style>{style}</style></head>\n<body><h1>{escape(rows(one)[0][0])}</h1>\n<table>\n{body}</table></body></html>\n"
    )


def _line(line: ChargeLine, currency: str) -> str:
    vat = "" if line.vat is None else f", VAT {_plain(line.vat)} %"
    if line.dimension == "FLAT":
        return f"{_plain(line.price)} {currency}{vat}"
    if line.dimension == "ENERGY":
        return f"{_plain(line.billed)} kWh at {_plain(line.price)} {currency}/kWh = {_plain(line.excl_vat)}{vat}"
    return f"{_plain(line.billed / 60)} min at {_plain(line.price)} {currency}/h = {_plain(line.excl_vat)}{vat}"


def _money(amount: Decimal, currency: str) -> str:
    return f"{amount:f} {currency}"


def _plain(number: Decimal) -> str:
    text = format(number.quantize(Decimal("0.0001")), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _at(ms: int | None, zone: str) -> str:
    if ms is None:
        return "not reported"
    return datetime.fromtimestamp(ms / 1000, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S %Z")
