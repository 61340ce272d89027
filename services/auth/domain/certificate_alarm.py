"""Alarms about certificates, as an operator looks them up: what was told on the event stream, and stays."""

from collections.abc import Iterable

from ocppcore.contracts.certificates import CertificateAlarmRaised
from ocppcore.service import View
from ocppcore.store import Table, Upsert

ALARMS = Table(
    "certificate_alarms",
    {
        "at": "bigint",
        "station": "text",
        "what": "text",
        "request_id": "text",
        "identity": "text",
        "reason": "text",
    },
    key=("at", "station", "what", "request_id"),
    indexes=(("station", "at"), ("what", "at")),
)
"""`station`: normalised, `identity`: as it is spelled; `at` in ms; `request_id`: of the CSR, "" for a flood."""


def project(event: CertificateAlarmRaised, _: View) -> Iterable[Upsert]:
    values = (event.at, event.subject(), event.what, event.request_id, event.station, event.reason)
    yield Upsert(ALARMS, values)
