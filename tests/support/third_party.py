"""A charging station that we did not write: the `ocpp` package's 2.0.1 charge point over `websockets`."""

import asyncio
import base64
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import httpx
from ocpp.routing import after, on
from ocpp.v201 import ChargePoint, call, call_result, datatypes, enums
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from csms.harness import System

PASSWORD = "correct-horse-battery-staple"
ANSWERED_WITHIN_S = 20
SEEN_WITHIN_S = 20.0


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def meter(wh: float, context: enums.ReadingContextEnumType) -> list[datatypes.MeterValueType]:
    """One reading of the energy register."""
    sample = datatypes.SampledValueType(
        value=wh,
        context=context,
        measurand=enums.MeasurandEnumType.energy_active_import_register,
        unit_of_measure=datatypes.UnitOfMeasureType(unit="kWh", multiplier=-3),
    )
    return [datatypes.MeterValueType(timestamp=now(), sampled_value=[sample])]


class Station(ChargePoint):  # type: ignore[misc]
    """Answers what a modest station answers; a remote start begins a transaction, a remote stop ends it."""

    def __init__(self, identity: str, connection: Any) -> None:
        super().__init__(identity, connection, response_timeout=ANSWERED_WITHIN_S)
        self.silent = asyncio.Event()
        self.transaction_id = ""
        self.seq_no = itertools.count()
        self.wh = 1000.0

    async def boot(self) -> Any:
        station = datatypes.ChargingStationType(vendor_name="Third Party", model="One", firmware_version="1.0")
        return await self.call(call.BootNotification(charging_station=station, reason="PowerUp"))

    async def status(self, status: str, evse: int = 1, connector: int = 1) -> Any:
        return await self.call(
            call.StatusNotification(timestamp=now(), connector_status=status, evse_id=evse, connector_id=connector)
        )

    async def authorize(self, id_token: str, kind: str = "ISO14443") -> Any:
        return await self.call(call.Authorize(id_token=datatypes.IdTokenType(id_token=id_token, type=kind)))

    async def begin(self, transaction_id: str, id_token: str, trigger: str = "Authorized", **info: Any) -> Any:
        """Started: seqNo 0, the register at its present reading."""
        self.transaction_id, self.seq_no = transaction_id, itertools.count()
        token = datatypes.IdTokenType(id_token=id_token, type="ISO14443")
        return await self._event("Started", trigger, "Transaction.Begin", id_token=token, info=info)

    async def charge(self, wh: float) -> Any:
        """Updated, so much energy later."""
        self.wh += wh
        return await self._event(
            "Updated", "MeterValuePeriodic", "Sample.Periodic", info={"charging_state": "Charging"}
        )

    async def end(self, wh: float = 0.0, trigger: str = "StopAuthorized", reason: str = "Local") -> Any:
        """Ended, so much energy later."""
        self.wh += wh
        return await self._event("Ended", trigger, "Transaction.End", info={"stopped_reason": reason})

    async def _event(self, kind: str, trigger: str, context: Any, *, info: dict[str, Any], id_token: Any = None) -> Any:
        return await self.call(
            call.TransactionEvent(
                event_type=kind,
                timestamp=now(),
                trigger_reason=trigger,
                seq_no=next(self.seq_no),
                transaction_info=datatypes.TransactionType(transaction_id=self.transaction_id, **info),
                evse=datatypes.EVSEType(id=1, connector_id=1),
                id_token=id_token,
                meter_value=meter(self.wh, context),
            )
        )

    # What the CSMS asks for.

    @on("GetVariables")
    async def on_get_variables(self, get_variable_data: list[dict[str, Any]], **_: Any) -> Any:
        results = [{"attribute_status": "Accepted", "attribute_value": "60", **wanted} for wanted in get_variable_data]
        return call_result.GetVariables(get_variable_result=results)

    @on("Reset")
    async def on_reset(self, **_: Any) -> Any:
        return call_result.Reset(status="Rejected")

    @on("GetLog")
    async def on_get_log(self, **_: Any) -> Any:
        """A test says how it goes on."""
        return call_result.GetLog(status="Accepted")

    @on("ClearCache")
    async def on_clear_cache(self, **_: Any) -> Any:
        """Never answers: until the connection ends."""
        await self.silent.wait()
        return call_result.ClearCache(status="Accepted")

    @on("RequestStartTransaction")
    async def on_remote_start(self, **_: Any) -> Any:
        return call_result.RequestStartTransaction(status="Accepted")

    @after("RequestStartTransaction")
    async def after_remote_start(self, remote_start_id: int, id_token: dict[str, Any], **_: Any) -> None:
        await self.begin(
            f"remote-{remote_start_id}", id_token["id_token"], "RemoteStart", remote_start_id=remote_start_id
        )

    @on("RequestStopTransaction")
    async def on_remote_stop(self, transaction_id: str, **_: Any) -> Any:
        known = transaction_id == self.transaction_id
        return call_result.RequestStopTransaction(status="Accepted" if known else "Rejected")

    @after("RequestStopTransaction")
    async def after_remote_stop(self, transaction_id: str, **_: Any) -> None:
        if transaction_id == self.transaction_id:
            await self.end(250.0, "RemoteStop", "Remote")


async def register(api: httpx.AsyncClient, identity: str, **more: Any) -> None:
    """A station with PASSWORD and one EVSE."""
    body = {"id": identity, "password": PASSWORD, "evses": [{"id": 1, "connectors": [{"id": 1}]}], **more}
    answer = await api.post("/device/stations", json=body)
    assert answer.status_code == 201, answer.text


@asynccontextmanager
async def connected(system: System, identity: str, password: str = PASSWORD) -> AsyncIterator[Station]:
    """The station on its socket, listening to the CSMS until the block ends."""
    credentials = base64.b64encode(f"{identity}:{password}".encode()).decode()
    async with connect(
        f"{system.gateways[0]}/{identity}",
        subprotocols=["ocpp2.0.1"],  # type: ignore[list-item]
        additional_headers={"Authorization": f"Basic {credentials}"},
        proxy=None,
    ) as connection:
        assert connection.subprotocol == "ocpp2.0.1"
        station = Station(identity, connection)
        listening = asyncio.create_task(station.start())
        try:
            yield station
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await listening


async def eventually(look: Callable[[], Awaitable[Any]], fits: Callable[[Any], bool]) -> Any:
    """What `look` finds once it fits; AssertionError with the last when it never does."""
    loop = asyncio.get_running_loop()
    until = loop.time() + SEEN_WITHIN_S
    while not fits(found := await look()):
        assert loop.time() < until, f"not as expected within {SEEN_WITHIN_S} s: {found}"
        await asyncio.sleep(0.05)
    return found


def getting(api: httpx.AsyncClient, path: str) -> Callable[[], Awaitable[Any]]:
    """Looks at a resource: its JSON."""

    async def look() -> Any:
        answer = await api.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return look
