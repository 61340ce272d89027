"""TLS and users on a real broker: it is known by its certificate and its name, we by a password or a certificate."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from csms.kafka_guard import ADMIN
from csms.tools import acls as acls_tool
from ocppcore.kafka import KafkaLog
from ocppcore.kafka.acls import Acl, Operation
from ocppcore.kafka.security import Security, security
from ocppcore.log import LogUnavailable, NewRecord, RightsMissing, TopicPartition
from ocppcore.settings import BaseServiceSettings
from tests.support.guarded_kafka import GuardedBroker, user
from tests.support.pki import Certified, authority

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_broker"]

PATIENCE_S = 60.0
SOON_S = 15.0
"""Long before the patience ends."""
TOPIC = "notes"
DEVICE = user("device")
OPERATIONS: tuple[Operation, ...] = ("Describe", "DescribeConfigs", "Create", "Read", "Write")


def settings_of(guarded: GuardedBroker, protocol: str, **more: object) -> BaseServiceSettings:
    found: dict[str, object] = {"kafka_security_protocol": protocol, **more}
    if protocol.startswith("SASL"):
        found = {
            "kafka_sasl_mechanism": "SCRAM-SHA-512",
            "kafka_sasl_username": DEVICE,
            "kafka_sasl_password": guarded.guard.passwords[DEVICE],
        } | found
    if protocol.endswith("SSL"):
        found = {"kafka_ssl_ca_file": guarded.ca_file} | found
    return BaseServiceSettings(**found)  # type: ignore[arg-type]


async def written(guarded: GuardedBroker, protocol: str, used: Security, namespace: str) -> bytes:
    """A record's value, appended to a topic of this namespace and read back."""
    log = KafkaLog(guarded.broker.secured[protocol], namespace, security=used, patience_s=PATIENCE_S)
    try:
        await log.declare({TOPIC: 1})
        [position] = await log.append([NewRecord(TOPIC, 0, "key", b"value", {})])
        reader = log.reader()
        reader.assign({TopicPartition(TOPIC, 0): position})
        [record] = await reader.fetch(1, PATIENCE_S)
        return record.value
    finally:
        await log.close()


async def refusal(bootstrap: str, used: Security) -> str:
    """What is said by a log that is not let in: at once, although it would wait out an outage."""
    log = KafkaLog(bootstrap, security=used, patience_s=PATIENCE_S)
    try:
        async with asyncio.timeout(SOON_S):
            with pytest.raises(LogUnavailable) as refused:
                await log.declare({TOPIC: 1})
        return str(refused.value)
    finally:
        await log.close()


def rights(principal: str, namespace: str) -> list[Acl]:
    return [Acl(f"User:{principal}", "topic", f"{namespace}.{TOPIC}", operation) for operation in OPERATIONS]


def client_certificate(root: Certified, folder: Path) -> dict[str, str]:
    chain, key = root.issue(DEVICE).write(folder, DEVICE)
    return {"kafka_ssl_cert_file": str(chain), "kafka_ssl_key_file": str(key)}


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [
        ("SASL_SSL", "SCRAM-SHA-512"),
        ("SASL_PLAINTEXT", "PLAIN"),
        ("SASL_PLAINTEXT", "SCRAM-SHA-256"),
        ("SASL_PLAINTEXT", "SCRAM-SHA-512"),
    ],
)
async def test_a_user_appends_and_reads(guarded_broker: GuardedBroker, protocol: str, mechanism: str) -> None:
    namespace = f"tls-{protocol}-{mechanism}".lower()
    await guarded_broker.grant(rights(DEVICE, namespace))
    used = security(settings_of(guarded_broker, protocol, kafka_sasl_mechanism=mechanism))
    assert await written(guarded_broker, protocol, used, namespace) == b"value"


async def test_a_certificate_is_a_user_too(guarded_broker: GuardedBroker, tmp_path: Path) -> None:
    await guarded_broker.grant(rights(f"O=Operator,CN={DEVICE}", "mutual"))
    own = client_certificate(guarded_broker.root, tmp_path)
    used = security(settings_of(guarded_broker, "SSL", **own))
    assert await written(guarded_broker, "SSL", used, "mutual") == b"value"


async def test_a_reader_that_waits_is_closed_at_once(guarded_broker: GuardedBroker) -> None:
    """Also with TLS, where the goodbye is answered only after the fetch that the broker holds."""
    await guarded_broker.grant(rights(DEVICE, "leaving"))
    used = security(settings_of(guarded_broker, "SASL_SSL"))
    log = KafkaLog(guarded_broker.broker.secured["SASL_SSL"], "leaving", security=used, patience_s=PATIENCE_S)
    try:
        await log.declare({TOPIC: 1})
        reader = log.reader()
        reader.assign({TopicPartition(TOPIC, 0): 0})
        assert await reader.fetch(1, 1.0) == []
        async with asyncio.timeout(5.0):
            await reader.close()
    finally:
        await log.close()


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SSL"])
async def test_a_broker_of_another_authority_is_refused(
    guarded_broker: GuardedBroker, tmp_path: Path, protocol: str
) -> None:
    (tmp_path / "other.pem").write_bytes(authority("Root of the brokers").pem)
    own = client_certificate(guarded_broker.root, tmp_path)
    used = security(settings_of(guarded_broker, protocol, kafka_ssl_ca_file=str(tmp_path / "other.pem"), **own))
    said = await refusal(guarded_broker.broker.secured[protocol], used)
    assert "CERTIFICATE_VERIFY_FAILED" in said
    assert "KAFKA_SSL_CA_FILE must hold the authority" in said


async def test_a_broker_of_another_name_is_refused(guarded_broker: GuardedBroker) -> None:
    used = security(settings_of(guarded_broker, "SASL_SSL"))
    port = guarded_broker.broker.secured["SASL_SSL"].rpartition(":")[2]
    assert "IP address mismatch" in await refusal(f"127.0.0.1:{port}", used)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_wrong_password_is_said_at_once(guarded_broker: GuardedBroker, mechanism: str) -> None:
    used = replace(guarded_broker.guard.user(DEVICE, mechanism), password="not-the-password")
    said = await refusal(guarded_broker.broker.bootstrap, used)
    assert "do not take KAFKA_SASL_USERNAME csms-device with this KAFKA_SASL_PASSWORD" in said
    assert "not-the-password" not in said


async def test_a_mechanism_that_is_not_enabled_is_said_at_once(guarded_broker: GuardedBroker) -> None:
    used = security(settings_of(guarded_broker, "SASL_SSL", kafka_sasl_mechanism="SCRAM-SHA-256"))
    assert "Set KAFKA_SASL_MECHANISM to one that" in await refusal(guarded_broker.broker.secured["SASL_SSL"], used)


async def test_a_client_that_shows_nothing_is_not_let_in(guarded_broker: GuardedBroker) -> None:
    """Neither without a user, nor without TLS, nor without a certificate where one is asked for."""
    anonymous = security(settings_of(guarded_broker, "SSL"))
    ways = [
        ("SASL_PLAINTEXT", Security()),
        ("SASL_SSL", guarded_broker.guard.user(DEVICE)),
        ("SSL", anonymous),
    ]
    for protocol, used in ways:
        log = KafkaLog(guarded_broker.broker.secured[protocol], security=used, patience_s=2.0)
        try:
            with pytest.raises(LogUnavailable, match=rf"whether the port speaks {used.protocol} \(KAFKA_SECURITY_PROT"):
                await log.declare({TOPIC: 1})
        finally:
            await log.close()


@asynccontextmanager
async def log_of_device(guarded: GuardedBroker, namespace: str, *without: Operation) -> AsyncIterator[KafkaLog]:
    """With all rights on its topic but these."""
    await guarded.grant(right for right in rights(DEVICE, namespace) if right.operation not in without)
    log = KafkaLog(guarded.broker.bootstrap, namespace, security=guarded.guard.user(DEVICE), patience_s=PATIENCE_S)
    try:
        await log.declare({TOPIC: 1})
        yield log
    finally:
        await log.close()


async def test_rights_that_are_missing_are_named_before_they_are_needed(guarded_broker: GuardedBroker) -> None:
    wanted = [Acl("", "topic", f"few.{TOPIC}", "Write"), Acl("", "topic", f"few.{TOPIC}", "Read")]
    async with log_of_device(guarded_broker, "few", "Write", "Read") as log:
        with pytest.raises(RightsMissing, match=r"user csms-device lacks Read and Write on few\.notes: .*`csms acls`"):
            await log.check_rights(wanted)
        await guarded_broker.grant(rights(DEVICE, "few"))
        await log.check_rights(wanted)


async def test_a_record_that_may_not_be_written_says_what_to_do(guarded_broker: GuardedBroker) -> None:
    """A right that is taken away while a process runs."""
    async with log_of_device(guarded_broker, "mute", "Write") as log:
        with pytest.raises(
            LogUnavailable, match=r"mute\.notes\. The user csms-device has not the right: .*`csms acls`"
        ):
            await log.append([NewRecord(TOPIC, 0, "key", b"value", {})])


async def test_a_topic_that_may_not_be_read_says_what_to_do(guarded_broker: GuardedBroker) -> None:
    async with log_of_device(guarded_broker, "deaf", "Read") as log:
        reader = log.reader()
        reader.assign({TopicPartition(TOPIC, 0): 0})
        with pytest.raises(LogUnavailable, match="The user csms-device has not the right"):
            await reader.fetch(1, SOON_S)
            await reader.fetch(1, SOON_S)


async def test_a_group_that_may_not_be_joined_says_what_to_do(guarded_broker: GuardedBroker) -> None:
    async with log_of_device(guarded_broker, "lonely") as log, asyncio.timeout(SOON_S):
        with pytest.raises(RightsMissing, match=r"lonely\.cells\. The user csms-device has not the right"):
            await log.membership("cells", TOPIC).changed()


async def test_rights_are_granted_by_one_who_may_and_by_nobody_else(guarded_broker: GuardedBroker) -> None:
    async def apply(name: str) -> str:
        found = settings_of(
            guarded_broker,
            "SASL_SSL",
            kafka_bootstrap_servers=guarded_broker.broker.secured["SASL_SSL"],
            kafka_sasl_username=name,
            kafka_sasl_password=guarded_broker.guard.passwords[name],
        )
        return await acls_tool.apply(rights(DEVICE, "applied"), found)

    with pytest.raises(RightsMissing, match=r"csms-device cannot grant Describe on applied\.notes"):
        await apply(DEVICE)
    assert "5 rights are in force" in await apply(ADMIN)
    async with log_of_device(guarded_broker, "applied", *OPERATIONS) as log:
        await log.append([NewRecord(TOPIC, 0, "key", b"value", {})])
