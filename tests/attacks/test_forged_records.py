"""Attack: a service's user, or anybody else, writes into the log or reads from it what is not its business.

The cluster asks for users and rights; each service has what `ocppcore.kafka.acls` computes from the table of topics.
The system works with exactly that, over TLS, and every right that the table does not give is refused by the broker.

Kafka only: on the embedded log all services are one user of the database, which has nobody to keep out.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from decimal import Decimal

import httpx
import pytest
import pytest_asyncio
from aiokafka.admin import NewTopic  # type: ignore[import-untyped]

from csms.harness import System
from csms.kafka_guard import ADMIN
from ocppcore import topics
from ocppcore.kafka.acls import HOUSES, Acl
from ocppcore.kafka.rights import grant
from ocppcore.kafka.topics import IDENTITY
from ocppcore.log import RightsMissing
from tests.support.guarded_kafka import NAMESPACE, RIGHTS, STRANGER, GuardedBroker, user
from tests.support.intruder import GROUP_REFUSED, TOPIC_REFUSED, Intruder, intruder
from tests.support.third_party import connected, eventually, getting, register

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_broker"]

TOPICS = [f"{NAMESPACE}.{name}" for name in (*topics.BY_NAME, IDENTITY)]


def granted(house: str, operation: str) -> set[str]:
    principal = f"User:{user(house)}"
    return {right.name for right in RIGHTS if (right.principal, right.operation) == (principal, operation)}


@pytest_asyncio.fixture
async def api(guarded_kafka: System) -> AsyncIterator[httpx.AsyncClient]:
    async with guarded_kafka.client() as client:
        yield client


async def test_a_session_works_with_the_rights_of_the_table(guarded_kafka: System, api: httpx.AsyncClient) -> None:
    await register(api, "Guarded-1")
    answer = await api.put("/auth/tokens/ISO14443/04AA11", json={"status": "Accepted"})
    assert answer.status_code in (200, 201), answer.text
    async with connected(guarded_kafka, "Guarded-1") as station:
        assert (await station.boot()).status == "Accepted"
        await station.status("Available")
        assert (await station.authorize("04AA11")).id_token_info["status"] == "Accepted"
        assert (await station.begin("Tx-1", "04AA11")).id_token_info["status"] == "Accepted"
        await station.charge(1500)
        reset = await api.post("/device/stations/Guarded-1/commands/Reset", json={"type": "OnIdle"})
        assert reset.json()["status"] == "answered", reset.text
        await station.end(10)
    ended = (await api.get("/transactions/transactions/Guarded-1/Tx-1")).json()
    assert (ended["state"], ended["seqNos"], Decimal(ended["energyWh"])) == ("ended", [0, 1, 2], Decimal(1510))
    page = await eventually(
        getting(api, "/gateway/stations/Guarded-1/frames"),
        lambda found: {"BootNotification", "TransactionEvent", "Reset"} <= {one["action"] for one in found["items"]},
    )
    assert page["items"]


async def test_a_tool_works_with_the_rights_of_its_service(guarded_kafka: System) -> None:
    ran = await guarded_kafka.csms("frames", "--last", "1", beside="gateway")
    assert ran.code == 0, ran.output
    program = guarded_kafka.programs["smartcharging"]
    await program.stop()
    try:
        ran = await guarded_kafka.csms("rebuild", "smartcharging", beside="smartcharging")
        assert ran.code == 0, ran.output
    finally:
        program.start()
        await program.ready()


async def test_no_process_logs_a_password_of_kafka(guarded_kafka: System, guarded_broker: GuardedBroker) -> None:
    for program in guarded_kafka.programs.values():
        said = program.output.read_text()
        assert said
        assert [name for name, password in guarded_broker.guard.passwords.items() if password in said] == []


@pytest.mark.parametrize("house", HOUSES)
async def test_a_service_appends_only_where_the_table_says(
    guarded_kafka: System, guarded_broker: GuardedBroker, house: str
) -> None:
    forbidden = set(TOPICS) - granted(house, "Write")
    async with as_user(guarded_broker, user(house)) as attacker:
        assert {topic: await attacker.append(topic) for topic in forbidden} == dict.fromkeys(forbidden, TOPIC_REFUSED)
    assert guarded_kafka.programs[house].running


async def test_a_stolen_gateway_forges_no_event_no_state_and_no_request(
    guarded_kafka: System, guarded_broker: GuardedBroker
) -> None:
    """By name, not from the table: it is the part that strangers speak to."""
    wanted = ("auth.events", "auth.apikeys", "auth.tokens", "device.stations", "device.requests", "transactions.events")
    async with as_user(guarded_broker, user("gateway")) as attacker:
        for name in wanted:
            assert await attacker.append(f"{NAMESPACE}.{name}") == TOPIC_REFUSED, name


async def test_the_same_record_is_taken_from_one_who_may(guarded_broker: GuardedBroker) -> None:
    """So it is the right that was missing."""
    right = Acl(f"User:{user('device')}", "topic", "scratch", "Write")
    admin = await guarded_broker.admin(ADMIN)
    try:
        await admin.create_topics([NewTopic("scratch", 1, 1)])
    finally:
        await admin.close()
    async with as_user(guarded_broker, user("device")) as attacker:
        assert await attacker.append("scratch") == TOPIC_REFUSED
        await guarded_broker.grant([right])
        assert await eventually(lambda: attacker.append("scratch"), lambda code: code == 0) == 0


@pytest.mark.parametrize("house", HOUSES)
async def test_a_service_reads_what_the_table_says_and_nothing_else(
    guarded_kafka: System, guarded_broker: GuardedBroker, house: str
) -> None:
    readable = granted(house, "Read")
    async with as_user(guarded_broker, user(house)) as attacker:
        found = {topic: await attacker.read(topic) for topic in TOPICS}
    assert found == {topic: 0 if topic in readable else TOPIC_REFUSED for topic in TOPICS}


@pytest.mark.parametrize("house", [*HOUSES, STRANGER])
async def test_nobody_joins_the_group_of_another(
    guarded_kafka: System, guarded_broker: GuardedBroker, house: str
) -> None:
    """Who joins is dealt cells, and their rightful owner loses them."""
    name = STRANGER if house == STRANGER else user(house)
    groups = [f"{NAMESPACE}.{topics.cells_group(service)}" for service in topics.SERVICES if service != house]
    async with as_user(guarded_broker, name) as attacker:
        for group in groups:
            assert await attacker.join(group) == GROUP_REFUSED


@pytest.mark.parametrize("name", [STRANGER, *map(user, HOUSES)])
async def test_nobody_grants_deletes_or_makes_what_is_not_in_the_table(
    guarded_kafka: System, guarded_broker: GuardedBroker, name: str
) -> None:
    admin = await guarded_broker.admin(name)
    try:
        removed = await admin.delete_topics([f"{NAMESPACE}.auth.events"])
        assert [code for _, code in removed.topic_error_codes] == [TOPIC_REFUSED]
        made = await admin.create_topics([NewTopic("another.topic", 1, 1)])
        assert [code for _, code, *_ in made.topic_errors] == [TOPIC_REFUSED]
    finally:
        await admin.close()
    wished = Acl(f"User:{name}", "topic", f"{NAMESPACE}.auth.apikeys", "Write")
    with pytest.raises(RightsMissing, match="ClusterAuthorizationFailed"):
        await grant(guarded_broker.cluster(name), [wished])


async def test_a_user_without_rights_sees_reads_and_writes_nothing(
    guarded_kafka: System, guarded_broker: GuardedBroker
) -> None:
    async with as_user(guarded_broker, STRANGER) as attacker:
        assert await attacker.sees() == set()
        for topic in TOPICS:
            assert await attacker.read(topic) == TOPIC_REFUSED
            assert await attacker.append(topic) == TOPIC_REFUSED


def as_user(guarded: GuardedBroker, name: str) -> AbstractAsyncContextManager[Intruder]:
    return intruder(guarded.broker.bootstrap, guarded.guard.user(name).options())
