"""The consumer of docs/howto, on a real Kafka broker: it books each charge detail record once."""

import asyncio
import sqlite3
import sys
from pathlib import Path
from uuid import uuid4

import msgspec

from csms.kafka_broker import KafkaBroker
from ocppcore.contracts.charge_details import ChargeDetailMade
from ocppcore.engine.batch import event_id
from ocppcore.kafka import KafkaLog
from ocppcore.log import StreamRecord
from services.transactions.domain.charge_detail import credit_of, digest_of
from tests.house.test_tidy import ROOT
from tests.support.charge_details import detail
from tests.support.tariffs import course, tariff

pytest_plugins = ["tests.support.kafka_broker"]

TOPIC = "transactions.events"
CHARGED = course("2026-06-01T16:55+02:00", (60, 10))


def records() -> list[StreamRecord]:
    """A charge, what another tariff made of it, and an event of another kind, in one partition."""
    first = detail(CHARGED, tariff({"ENERGY": "0.30"}), id="first")
    second = detail(CHARGED, tariff({"ENERGY": "0.20"}), id="second", version=3)
    made = [first, credit_of(first, 2, "rerated"), second]
    found = []
    for number, one in enumerate(made):
        event = ChargeDetailMade(at=0, station="cs-1", detail=one, digest=digest_of(one))
        found.append(record(number, ChargeDetailMade.TYPE, msgspec.json.encode(event)))
    return [*found, record(len(made), "transactions.OfTomorrow.v9", b"{}")]


def record(number: int, type_: str, value: bytes) -> StreamRecord:
    headers = {"ce_id": event_id(TOPIC, 0, number), "ce_type": type_, "number": str(number)}
    return StreamRecord(TOPIC, 0, number, "cs-1", value, headers)


async def consume(broker: KafkaBroker, namespace: str, books: Path) -> str:
    """Run it to the end of what is there; what it says last."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "docs/howto/billing_consumer.py"), "--bootstrap", broker.bootstrap,
        "--topic", f"{namespace}.{TOPIC}", "--books", str(books), "--to-end",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        said, wrong = await program.communicate()
    assert program.returncode == 0, wrong.decode()
    return said.decode().strip()


async def test_each_record_is_booked_once_whatever_is_published_again(
    kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    namespace, books = f"test-{uuid4().hex[:12]}", tmp_path / "books.sqlite"
    log = KafkaLog(kafka_broker.bootstrap, namespace)
    try:
        await log.declare({TOPIC: 2})
        said = records()
        await log.publish(said[:1])
        assert await consume(kafka_broker, namespace, books) == "3.00 EUR"
        await log.publish([*said[:2], *said[1:]])
        assert await consume(kafka_broker, namespace, books) == "2.00 EUR"
        assert await consume(kafka_broker, namespace, books) == "2.00 EUR"
    finally:
        await log.close()
    booked = sqlite3.connect(books)
    rows = booked.execute("SELECT kind, energy_wh FROM bookings ORDER BY rowid").fetchall()
    booked.close()
    assert [kind for kind, _ in rows] == ["charge", "credit", "charge"]
    assert sum(float(energy) for _, energy in rows) == 10_000
