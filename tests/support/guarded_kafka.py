"""A Kafka broker that asks for users and rights; `guarded_broker.py` has it as a fixture.

Every service has a user of its own on it, `csms-NAME`; `stranger` is let in and may do nothing.
"""

import asyncio
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient  # type: ignore[import-untyped]

from csms.kafka_broker import KafkaBroker
from csms.kafka_guard import ADMIN, Guard
from csms.tools.acls import as_commands
from ocppcore.kafka.acls import Acl, acls
from ocppcore.kafka.cluster import Cluster
from ocppcore.kafka.rights import grant
from tests.support.pki import Certified

NAMESPACE = "guarded"
RIGHTS = acls(NAMESPACE, "csms-")
STRANGER = "stranger"


def user(house: str) -> str:
    return f"csms-{house}"


@dataclass(frozen=True)
class GuardedBroker:
    """`root` signed the broker's certificate and is trusted by it; `place`: where files may be put."""

    broker: KafkaBroker
    guard: Guard
    root: Certified
    place: Path

    @property
    def ca_file(self) -> str:
        return str(self.guard.authorities)

    def cluster(self, name: str) -> Cluster:
        """The broker as this user reaches it."""
        return Cluster(self.broker.bootstrap, 10.0, self.guard.user(name))

    async def grant(self, rights: Iterable[Acl]) -> None:
        """As its administrator."""
        await grant(self.cluster(ADMIN), list(rights))

    async def admin(self, name: str) -> AIOKafkaAdminClient:
        """Kafka's admin API as this user, started."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.broker.bootstrap, **self.guard.user(name).options())
        await admin.start()
        return admin


async def grant_by_command(guarded: GuardedBroker, rights: list[Acl]) -> None:
    """Run what `csms acls` prints, with the program that `kafka-acls` starts."""
    properties = guarded.place / "admin.properties"
    login = f'username="{ADMIN}" password="{guarded.guard.passwords[ADMIN]}"'
    properties.write_text(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-512\n"
        f"sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required {login};\n"
    )
    script = as_commands(rights, guarded.broker.bootstrap).replace("\\\n", " ")
    for command in filter(None, (shlex.split(line, comments=True) for line in script.splitlines())):
        assert command[0] == "kafka-acls"
        await run(guarded.broker.tool("org.apache.kafka.tools.AclCommand", *command[1:]), guarded.place)


async def run(command: list[str], place: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=place, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, said.decode()
