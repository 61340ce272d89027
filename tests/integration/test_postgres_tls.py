"""A database that is reached with TLS, as DATABASE_URL says: known by its certificate, or not spoken to."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
from pydantic import SecretStr

from csms import houses
from csms.harness import NO_KEYS
from csms.runtime import database
from ocppcore.log import LogUnavailable, NewRecord, TopicPartition
from ocppcore.postgres.log import PostgresLog
from ocppcore.postgres.store import PostgresStore
from ocppcore.settings import BaseServiceSettings, SettingsError
from ocppcore.store import StoreUnavailable
from tests.integration.postgres_fixture import PostgresServer, postgres_server
from tests.support.pki import Certified, authority
from tests.support.tls_front import Front, tls_front

__all__ = ["postgres_server"]

SOON_S = 10.0
"""Long before the patience of log (60 s) and store (30 s) ends."""
IMPATIENCE_S = 1.0
_namespaces = count(1)


class Site:
    """The files of an installation: `ca.pem` signed the server's certificate, `other.pem` did not."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.root = authority("Root of the databases")
        self.own = self.root.issue("csms").write(place, "csms")
        (place / "ca.pem").write_bytes(self.root.pem)
        (place / "other.pem").write_bytes(authority("Root of the databases").pem)

    def server(self, host: str = "localhost", *, clients: Certified | None = None) -> ssl.SSLContext:
        """The server's side; `clients`: it asks for certificates of theirs."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.root.issue("database", host=host).write(self.place, "database"))
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=clients.pem.decode())
        return context

    def trust(self, mode: str = "verify-full", file: str = "ca.pem") -> dict[str, str]:
        return {"sslmode": mode, "sslrootcert": str(self.place / file)}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("HOME", str(tmp_path))  # libpq's words have defaults there
    return Site(tmp_path)


@pytest.fixture
async def front(postgres_server: PostgresServer, site: Site) -> AsyncIterator[Front]:
    async with tls_front(postgres_server.dsn, site.server()) as front:
        yield front


def namespace() -> str:
    return f"tls{next(_namespaces)}"


async def use_log(dsn: str, **more: float) -> bytes:
    """A record's value, appended and read back."""
    log = await PostgresLog.open(dsn, namespace(), streams={}, retention_days={}, **more)
    try:
        await log.declare({"notes": 1})
        [position] = await log.append([NewRecord("notes", 0, "key", b"value", {})])
        reader = log.reader()
        reader.assign({TopicPartition("notes", 0): position})
        [record] = await reader.fetch(1, SOON_S)
        return record.value
    finally:
        await log.close()


async def use_store(dsn: str, **more: float) -> str:
    """The log's identity as a service's tables note it."""
    definition = houses.definition("smartcharging", NO_KEYS)
    store = PostgresStore(dsn, "smartcharging", namespace(), **more)  # type: ignore[arg-type]
    try:
        await store.prepare([*definition.tables.values()], definition.streams, definition.copies)
        return await store.log_identity("this log")
    finally:
        await store.close()


async def refusals(dsn: str, **more: float) -> list[str]:
    """What log and store say, both soon."""
    async with asyncio.timeout(SOON_S):
        with pytest.raises(LogUnavailable) as by_log:
            await use_log(dsn, **more)
        with pytest.raises(StoreUnavailable) as by_store:
            await use_store(dsn, **more)
    return [str(by_log.value), str(by_store.value)]


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_log_and_store_work_over_tls(front: Front, site: Site, mode: str) -> None:
    dsn = front.url(**site.trust(mode))
    assert (await use_log(dsn), await use_store(dsn)) == (b"value", "this log")
    assert set(front.names) == {""}
    assert front.plain == []


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_a_server_of_another_authority_is_refused_at_once(front: Front, site: Site, mode: str) -> None:
    """Also with `require`, where an authority is named: as libpq does."""
    for said in await refusals(front.url(**site.trust(mode, "other.pem"))):
        assert "the database cannot be used: SSLCertVerificationError" in said
    assert (front.names, front.plain) == ([], []), "no statement, no password"


async def test_a_server_of_another_name_is_refused(postgres_server: PostgresServer, site: Site) -> None:
    async with tls_front(postgres_server.dsn, site.server("db.example.org")) as front:
        for said in await refusals(front.url(**site.trust("verify-full"))):
            assert "Hostname mismatch" in said
        assert front.names == []
        assert await use_log(front.url(**site.trust("verify-ca"))) == b"value", "which asks for no name"


async def test_a_client_shows_its_certificate(postgres_server: PostgresServer, site: Site) -> None:
    chain, key = map(str, site.own)
    async with tls_front(postgres_server.dsn, site.server(clients=site.root)) as front:
        dsn = front.url(**site.trust(), sslcert=chain, sslkey=key)
        assert (await use_log(dsn), await use_store(dsn)) == (b"value", "this log")
        assert set(front.names) == {"csms"}
        front.names.clear()
        await refusals(front.url(**site.trust()), patience_s=IMPATIENCE_S)
        assert front.names == []


@pytest.mark.parametrize("mode", ["require", "verify-full"])
async def test_a_server_without_tls_is_told_nothing(postgres_server: PostgresServer, site: Site, mode: str) -> None:
    """Nobody between us and the server can talk us out of TLS."""
    async with tls_front(postgres_server.dsn, None) as front:
        await refusals(front.url(**site.trust(mode)), patience_s=IMPATIENCE_S)
        assert front.plain
        assert b"".join(front.plain) == b""


async def test_a_mode_that_does_not_exist_is_said_at_once(front: Front) -> None:
    for said in await refusals(front.url(sslmode="always")):
        assert "`sslmode` parameter must be one of" in said


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"sslrootcert": "nowhere.pem"}, r"DATABASE_URL, sslrootcert: .*nowhere\.pem: No such file"),
        ({"sslrootcert": "csms.key"}, r"DATABASE_URL, sslrootcert: .*csms\.key: not PEM"),
        ({"sslcert": "csms.pem", "sslkey": "nowhere.key"}, r"sslcert, sslkey: .*nowhere\.key: No such file"),
        ({"sslcert": "ca.pem", "sslkey": "csms.key"}, r"sslkey: .*ca\.pem, .*csms\.key: not PEM, or not a pair"),
    ],
)
async def test_files_that_cannot_be_used_are_named(site: Site, parameters: dict[str, str], says: str) -> None:
    query = "&".join(f"{name}={site.place / file}" for name, file in parameters.items())
    dsn = SecretStr(f"postgresql://csms:correct-horse@localhost/csms?{query}")
    settings = BaseServiceSettings(database_url=dsn)
    with pytest.raises(SettingsError, match=says) as refused:
        async with database(settings, embedded=False):
            pass
    assert "correct-horse" not in str(refused.value)
