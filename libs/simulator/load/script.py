"""What a station under load says: frames cut from templates, the same mix for every station.

BootNotification and StatusNotification once; then again and again Authorize, StatusNotification(Occupied),
TransactionEvent Started, K x Updated with four sampled values each, Ended, StatusNotification(Available).
"""

from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple

import orjson

from ..inputs import IdToken


class Step(NamedTuple):
    """One kind of CALL. `accepts`: the answer has to say Accepted. `template` is filled by `%`."""

    name: str
    template: bytes
    accepts: bool = False
    event: str = ""


def _call(action: str, payload: str) -> bytes:
    return f'[2,"%b","{action}",{payload}]'.encode()


def _status(status: str) -> bytes:
    return _call(
        "StatusNotification",
        f'{{"timestamp":"%b","connectorStatus":"{status}","evseId":1,"connectorId":1}}',
    )


def _event(kind: str, trigger: str, info: str, extra: str, context: str) -> bytes:
    def sample(slot: str, measurand: str, unit: str, phase: str = "") -> str:
        return (
            f'{{"value":{slot},"context":"{context}","measurand":"{measurand}",{phase}"location":"Outlet",'
            f'"unitOfMeasure":{{"unit":"{unit}"}}}}'
        )

    samples = (
        sample("%d.%d", "Energy.Active.Import.Register", "Wh"),
        sample("%d.5", "Power.Active.Import", "W"),
        sample("15.9", "Current.Import", "A", '"phase":"L1",'),
        sample("230.1", "Voltage", "V", '"phase":"L1-N",'),
    )
    return _call(
        "TransactionEvent",
        f'{{"eventType":"{kind}","timestamp":"%b","triggerReason":"{trigger}","seqNo":%d,"transactionInfo":'
        f'{{"transactionId":"%b",{info}}},"evse":{{"id":1,"connectorId":1}},{extra}"meterValue":[{{"timestamp":"%b",'
        f'"sampledValue":[{",".join(samples)}]}}]}}',
    )


BOOT = Step(
    "BootNotification",
    _call(
        "BootNotification",
        '{"reason":"PowerUp","chargingStation":{"model":"Load","vendorName":"Open CSMS","firmwareVersion":"1.0"}}',
    ),
    accepts=True,
)
HEARTBEAT = Step("Heartbeat", _call("Heartbeat", "{}"))
SETUP = Step("StatusNotification(setup)", _status("Available"))
OCCUPIED = Step("StatusNotification(Occupied)", _status("Occupied"))
AVAILABLE = Step("StatusNotification(Available)", _status("Available"))
UPDATED = Step(
    "TransactionEvent(Updated)",
    _event("Updated", "MeterValuePeriodic", '"chargingState":"Charging"', "", "Sample.Periodic"),
    event="Updated",
)


@cache
def token_steps(token: IdToken) -> tuple[Step, Step, Step]:
    """Authorize, Started and Ended of a station whose driver has this idToken."""
    wire = orjson.dumps(token.wire()).decode().replace("%", "%%")
    started = _event("Started", "Authorized", '"chargingState":"Charging"', f'"idToken":{wire},', "Transaction.Begin")
    stopped = '"chargingState":"EVConnected","stoppedReason":"Local"'
    ended = _event("Ended", "StopAuthorized", stopped, f'"idToken":{wire},', "Transaction.End")
    return (
        Step("Authorize", _call("Authorize", f'{{"idToken":{wire}}}'), accepts=True),
        Step("TransactionEvent(Started)", started, accepts=True, event="Started"),
        Step("TransactionEvent(Ended)", ended, accepts=True, event="Ended"),
    )


class Stamp:
    """RFC 3339 with ms; formatted anew only when the second changes."""

    __slots__ = ("_prefix", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._prefix = b""

    def at(self, now_ms: int) -> bytes:
        second, ms = divmod(now_ms, 1000)
        if second != self._second:
            self._second = second
            self._prefix = f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}".encode()
        return b"%b.%03dZ" % (self._prefix, ms)
