"""`csms recover` on real processes: a log that is lost, and a database from a backup, behind its topic."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg  # type: ignore[import-untyped]
import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient  # type: ignore[import-untyped]

from csms.harness import ProcessFailed, System, embedded, on_kafka, temporary_directory
from csms.houses import HOSTS
from csms.kafka_broker import KafkaBroker
from ocppcore.embedded import EmbeddedPostgres
from tests.support.at_rest import hashes_at_rest
from tests.support.third_party import connected, eventually, register

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system"]


@asynccontextmanager
async def own_on_kafka(broker: KafkaBroker, namespace: str) -> AsyncIterator[System]:
    with temporary_directory() as place:
        async with EmbeddedPostgres(place / "postgres", homes=place, restart=False) as server:
            system = on_kafka(place, broker.bootstrap, server.dsn, CSMS_NAMESPACE=namespace)
            try:
                yield system
            finally:
                system.kill()


@asynccontextmanager
async def own_embedded() -> AsyncIterator[System]:
    with temporary_directory() as place:
        system = embedded(place)
        try:
            yield system
        finally:
            system.kill()


async def stop(system: System) -> None:
    codes = await system.stop()
    assert set(codes.values()) == {0}, system.tails()


async def charge(system: System, api: httpx.AsyncClient, identity: str) -> None:
    """A whole transaction of 700 Wh, and one that stays open at 50 Wh."""
    await register(api, identity)
    (await api.put(f"/auth/tokens/ISO14443/04{identity}", json={"status": "Accepted"})).raise_for_status()
    async with connected(system, identity) as station:
        await station.boot()
        for transaction, wh in (("Whole", 700), ("Open", 50)):
            await station.begin(transaction, f"04{identity}")
            await station.charge(wh)
            if transaction == "Whole":
                await station.end()


async def known(api: httpx.AsyncClient, identity: str) -> dict[str, Any]:
    """What must survive: less what connections change."""
    found = {
        path: (await api.get(path)).raise_for_status().json()
        for path in (
            f"/auth/tokens/ISO14443/04{identity}",
            f"/transactions/transactions/{identity}/Whole",
            f"/transactions/transactions/{identity}/Open",
            f"/device/stations/{identity}",
        )
    }
    for volatile in ("connection", "lastContact", "lastBoot"):
        found[f"/device/stations/{identity}"].pop(volatile)
    return found


async def goes_on(system: System, api: httpx.AsyncClient, identity: str) -> None:
    """Its station is let in with the password it had, and ends the transaction that was open."""
    # Answered once the service has published what its database held, and gateways have read it: no station is unknown.
    (await api.patch(f"/device/stations/{identity}", json={"bootInterval": 250})).raise_for_status()
    async with connected(system, identity) as station:
        assert (await station.boot()).status == "Accepted"
        station.transaction_id, station.wh = "Open", 1000.0 + 700 + 50
        station.seq_no = iter((2,))  # type: ignore[assignment]
        await station.end(25)
    ended = (await api.get(f"/transactions/transactions/{identity}/Open")).json()
    assert (ended["state"], ended["seqNos"], Decimal(ended["energyWh"])) == ("ended", [0, 1, 2], Decimal(75))


async def refused(system: System, words: str) -> None:
    """It does not start, and says why; the process that says it need not be the first that ends."""
    with pytest.raises(ProcessFailed):
        await system.start()

    async def said() -> str:
        return system.tails()

    await eventually(said, lambda tails: words in tails)
    system.kill()


@asynccontextmanager
async def database(dsn: str) -> AsyncIterator[Any]:
    """A connection that can copy databases and drop schemas."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def lose_log(system: System) -> None:
    """As if the disks of the log were gone; the services' rows stay."""
    if system.environment.get("CSMS_LOG") == "kafka":
        await lose_topics(system.environment["KAFKA_BOOTSTRAP_SERVERS"], system.environment["CSMS_NAMESPACE"] + ".")
        return
    async with (
        EmbeddedPostgres(Path(system.environment["CSMS_DATA"]) / "postgres") as server,
        database(server.dsn) as connection,
    ):
        await connection.execute("DROP SCHEMA log CASCADE")


async def lose_topics(bootstrap: str, prefix: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        ours = {topic for topic in await admin.list_topics() if topic.startswith(prefix)}
        assert ours
        await admin.delete_topics(list(ours))
        async with asyncio.timeout(60):
            while ours & set(await admin.list_topics()):
                pass
    finally:
        await admin.close()


async def survives_the_loss_of_its_log(system: System) -> None:
    await system.start()
    async with system.client() as api:
        await charge(system, api, "Lost-1")
        before = await known(api, "Lost-1")
        running = await system.csms("recover", "transactions")
        assert running.code == 1
        assert "transactions is running; stop it, then recover" in running.output
        await stop(system)

        fine = await system.csms("recover", "transactions")
        assert (fine.code, fine.output.strip()) == (0, "transactions: 0 events loaded that the database lacked.")
        await lose_log(system)
        await refused(system, "csms recover")
        for service in HOSTS:
            told = await system.csms("recover", service)
            assert told.code == 1
            assert "--new-log" in told.output and "Traceback" not in told.output
            adopted = await system.csms("recover", service, "--new-log")
            assert adopted.code == 0, adopted.output
            assert f"{service}: this log is its own now" in adopted.output

        await system.start()
        assert await known(api, "Lost-1") == before
        await goes_on(system, api, "Lost-1")
        await stop(system)
        hashes = await hashes_at_rest(system)
        for service in HOSTS:
            built = await system.csms("rebuild", service)
            assert f"{service}: {hashes[service]}" in built.output, "the new log does not hold all events"


@pytest.mark.timeout(400)
async def test_a_lost_log_is_replaced_embedded() -> None:
    async with own_embedded() as system:
        await survives_the_loss_of_its_log(system)


@pytest.mark.timeout(400)
async def test_a_lost_log_is_replaced_on_kafka(kafka_broker: KafkaBroker) -> None:
    async with own_on_kafka(kafka_broker, "replaced") as system:
        await survives_the_loss_of_its_log(system)


@pytest.mark.timeout(400)
async def test_a_database_from_a_backup_catches_up_with_its_topic(kafka_broker: KafkaBroker) -> None:
    async with own_on_kafka(kafka_broker, "restored") as system, system.client() as api:
        await system.start()
        await charge(system, api, "Old-1")
        await stop(system)
        backup = await copied(system)
        await system.start()
        await charge(system, api, "New-1")
        before = {identity: await known(api, identity) for identity in ("Old-1", "New-1")}
        await stop(system)

        use(system, backup)
        await refused(system, "csms recover transactions")
        for service in HOSTS:
            recovered = await system.csms("recover", service)
            assert recovered.code == 0, recovered.output
            assert "events loaded that the database lacked." in recovered.output
            loaded_none = f"{service}: 0 events loaded" in recovered.output
            assert loaded_none == (service == "smartcharging"), recovered.output
        await system.start()
        assert {identity: await known(api, identity) for identity in before} == before
        for identity in before:
            await goes_on(system, api, identity)
        await stop(system)


async def copied(system: System) -> str:
    """The DSN of a copy of the database as it is now."""
    async with database(with_database(system.dsn(), "postgres")) as connection:
        await connection.execute("CREATE DATABASE backup TEMPLATE csms")
    return with_database(system.dsn(), "backup")


def with_database(dsn: str, name: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


def use(system: System, dsn: str) -> None:
    """From now on this is its database."""
    system.environment = {**system.environment, "DATABASE_URL": dsn}
    for program in system.programs.values():
        program.environment = {**program.environment, "DATABASE_URL": dsn}
