"""Charge detail records of tests."""

from decimal import Decimal
from typing import Any

import msgspec

from ocppcore.contracts.charge_details import ChargeDetail
from ocppcore.tariff import Tariff
from services.transactions.domain.charge_detail import priced
from services.transactions.domain.course import Course
from services.transactions.domain.rating import rate


def detail(course: Course, tariff: Tariff | None = None, **more: Any) -> ChargeDetail:
    """The record of a transaction with this course, rated by this tariff."""
    made = ChargeDetail(
        id="0" * 32,
        version=1,
        kind="charge",
        why="made",
        station="cs-1",
        identity="CS-1",
        transaction_id="T1",
        grade="complete",
        evse_id=1,
        connector_id=2,
        token="p",
        token_type="ISO14443",
        started_at=course.start,
        ended_at=course.end,
        energy_wh=course.energy_wh,
        charging_ms=sum(one.end - one.start for one in course.periods if one.charging),
        parking_ms=sum(one.end - one.start for one in course.periods if not one.charging),
        meter_start_wh="0",
        meter_stop_wh=format(course.energy_wh, "f"),
        zone="Europe/Amsterdam",
        periods=course.periods,
    )
    if tariff is not None:
        made = priced(made, rate(tariff, course, made.zone))
    return msgspec.structs.replace(made, **more)


ZERO = Decimal(0)
