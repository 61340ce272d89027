"""Books charge detail records from Kafka into SQLite: an example that needs nothing of this project but its topic.

    pip install aiokafka
    python billing_consumer.py --bootstrap localhost:9092 --books books.sqlite

Where it stopped reading is kept in the books, in the same transaction as what it read: so it books each record once,
however often it or the CSMS dies.
"""

import argparse
import asyncio
import json
import sqlite3
from decimal import Decimal

from aiokafka import AIOKafkaConsumer, ConsumerRecord

BOOKED = "transactions.ChargeDetailMade.v1"
ATTEMPTS = 60
TABLES = """
CREATE TABLE IF NOT EXISTS bookings (
    id TEXT PRIMARY KEY, kind TEXT, credits TEXT, station TEXT, transaction_id TEXT, token TEXT,
    energy_wh TEXT, currency TEXT, excl_vat TEXT, incl_vat TEXT
);
CREATE TABLE IF NOT EXISTS read (partition INTEGER PRIMARY KEY, position INTEGER, number INTEGER);
"""


def book(books: sqlite3.Connection, record: ConsumerRecord) -> None:
    """One record: its booking, and that it was read, or neither."""
    headers = {name: value.decode() for name, value in record.headers}
    number = int(headers["number"])
    with books:
        last = books.execute("SELECT number FROM read WHERE partition = ?", (record.partition,)).fetchone()
        if last is None or number > last[0]:  # else it was published again after a crash, byte for byte the same
            if headers["ce_type"] == BOOKED:
                detail = json.loads(record.value)["detail"]
                columns = ("id", "kind", "credits", "station", "transaction_id", "token", "energy_wh", "currency",
                           "excl_vat", "incl_vat")  # fmt: skip
                values = [detail[column] for column in columns]
                books.execute(f"INSERT INTO bookings VALUES ({', '.join('?' * len(columns))})", values)
        else:
            number = last[0]
        books.execute("INSERT OR REPLACE INTO read VALUES (?, ?, ?)", (record.partition, record.offset + 1, number))


def balance(books: sqlite3.Connection) -> dict[str, Decimal]:
    """What all bookings come to, by currency ("": energy without a tariff); amounts are decimals, never floats."""
    totals: dict[str, Decimal] = {}
    for currency, amount in books.execute("SELECT currency, incl_vat FROM bookings"):
        totals[currency] = totals.get(currency, Decimal(0)) + Decimal(amount)
    return totals


async def run(bootstrap: str, topic: str, books: sqlite3.Connection, *, to_end: bool) -> None:
    """Read on from where the books stand, for ever or (`to_end`) until nothing more is there."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        for _ in range(ATTEMPTS):  # a topic that was made a moment ago has no partitions for us yet
            if consumer.assignment():
                break
            await asyncio.sleep(0.5)
        else:
            raise SystemExit(f"{topic}: there is no such topic at {bootstrap}")
        partitions = sorted(consumer.assignment())  # without a group: all of them
        known = dict(books.execute("SELECT partition, position FROM read"))
        for tp in partitions:
            if tp.partition in known:
                consumer.seek(tp, known[tp.partition])  # else from the beginning
        ends = await consumer.end_offsets(partitions)
        while not to_end or any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                for record in records:
                    book(books, record)
    finally:
        await consumer.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bootstrap", default="localhost:9092")
    parser.add_argument("--topic", default="transactions.events", help="with `NAMESPACE.` before it, if there is one")
    parser.add_argument("--books", default="books.sqlite")
    parser.add_argument("--to-end", action="store_true", help="stop when everything that is there now was read")
    asked = parser.parse_args()
    books = sqlite3.connect(asked.books)
    books.executescript(TABLES)
    try:
        asyncio.run(run(asked.bootstrap, asked.topic, books, to_end=asked.to_end))
    except KeyboardInterrupt:
        pass
    finally:
        for currency, total in sorted(balance(books).items()):
            print(f"{total} {currency}".strip())
        books.close()


if __name__ == "__main__":
    main()
