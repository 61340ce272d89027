"""The run without kills: what stations said is said again, byte for byte, to another system in which nothing dies."""

import asyncio
import base64
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from csms import harness
from csms.harness import ProcessFailed, System
from csms.torture import judge, tariff
from csms.torture.load import register_stations, register_tokens
from ocppcore import rpc
from ocppcore.contracts.charge_details import ChargeDetail
from ocppcore.envelope import Frame, parse_frame
from ocppcore.log import Record

BILLED_WITHIN_S = 60.0
LOOK_AGAIN_S = 0.5
ANSWERED_WITHIN_S = 30.0
EXPORT = "/transactions/charge-details:export?format=jsonl"
BOOT = b'[2,"boot","BootNotification",{"reason":"PowerUp","chargingStation":{"model":"Again","vendorName":"Torture"}}]'
AGREED = ("CSMS_PSEUDONYM_KEY", "CSMS_PARTITIONS")
"""Settings that both runs share: records name drivers by the pseudonyms that this key makes."""


class Said(NamedTuple):
    """A TransactionEvent as it came, repeats and contradictions too: its station, its payload."""

    identity: str
    payload: bytes


def said(records: Sequence[Record]) -> list[Said]:
    """Of a partition of frames, in the order in which they were decided."""
    found = []
    for record in records:
        frame = parse_frame(record)
        if isinstance(frame, Frame) and (frame.kind, frame.action, frame.refused) == ("call", "TransactionEvent", ""):
            parsed = rpc.parse(frame.frame)
            assert isinstance(parsed, rpc.Call), frame.message_id
            found.append(Said(frame.identity, bytes(parsed.payload)))
    return found


async def charge_details(system: System) -> list[ChargeDetail]:
    """All records, as whoever bills gets them."""
    async with system.client(timeout=60.0) as api:
        answer = (await api.get(EXPORT)).raise_for_status()
    return [msgspec.json.decode(line, type=ChargeDetail) for line in answer.content.splitlines()]


async def billed_alike(
    billed: Sequence[ChargeDetail], heard: Sequence[Said], seed: int, environment: Mapping[str, str], directory: Path
) -> list[str]:
    """What is different in a system that hears the same and never dies; `environment`: of the one that was killed.
    Raises ProcessFailed."""
    place = directory / "again"
    place.mkdir(mode=0o711)
    agreed = {name: environment[name] for name in AGREED if name in environment}
    system = harness.embedded(place, prefix=(), **agreed, CSMS_LOG_LEVEL="warning")
    try:
        await system.start()
        await register_tokens(system, seed)
        await tariff.assign(system)
        stations = sorted({one.identity for one in heard})
        passwords = await register_stations(system, stations)
        async with asyncio.TaskGroup() as group:
            for station in stations:
                payloads = [one.payload for one in heard if one.identity == station]
                group.create_task(_tell(system.gateways[0], station, passwords[station], payloads))
        faults = await _compared(system, billed)
        await system.stop()
        return faults
    finally:
        system.kill()


async def _tell(url: str, station: str, password: str, payloads: Sequence[bytes]) -> None:
    """One after the other, as OCPP wants it."""
    credentials = base64.b64encode(f"{station}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}"}
    async with connect(
        f"{url}/{station}", subprotocols=[Subprotocol("ocpp2.0.1")], additional_headers=headers, proxy=None
    ) as ws:
        calls = [BOOT, *(b'[2,"%d","TransactionEvent",%b]' % numbered for numbered in enumerate(payloads))]
        for call in calls:
            await ws.send(call, text=True)
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                while not _is_answer(frame := await ws.recv(decode=False), call, station):
                    await ws.send(_refusal(frame), text=True)


def _is_answer(frame: bytes, call: bytes, station: str) -> bool:
    """Else it is a CALL of the CSMS. Raises ProcessFailed for an answer that is none to this call."""
    parsed = rpc.parse(frame)
    if isinstance(parsed, rpc.Call):
        return False
    if isinstance(parsed, rpc.CallResult) and call.startswith(b'[2,"%b",' % parsed.message_id.encode()):
        return True
    raise ProcessFailed(f"{station} said {call.decode()} again and was answered {frame.decode()}")


def _refusal(frame: bytes) -> bytes:
    """It says again what was said, and does nothing that it is asked for."""
    asked = rpc.parse(frame)
    assert isinstance(asked, rpc.Call)
    return b'[4,"%b","NotImplemented","",{}]' % asked.message_id.encode()


async def _compared(system: System, billed: Sequence[ChargeDetail]) -> list[str]:
    """Once both have billed the same, or after a while, what is not the same."""
    until = time.monotonic() + BILLED_WITHIN_S
    while True:
        faults = judge.billed_alike(billed, await charge_details(system))
        if not faults or time.monotonic() > until:
            return faults
        await asyncio.sleep(LOOK_AGAIN_S)
