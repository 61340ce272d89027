"""TLS on real sockets: versions, suites, certificates of both sides, changes of files, on the in-memory log."""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from ocppcore import topics
from ocppcore.clock import system_clock
from ocppcore.contracts.auth import AuthorityState
from ocppcore.envelope import state_record
from ocppcore.settings import SettingsError
from services.gateway.gateway import Gateway
from services.gateway.tls import SUITES, Tls, TlsFiles
from services.gateway.ws import WsListener
from tests.support.pki import Certified, authority, client_context
from tests.support.raw_ws import Raw, basic, frame, request
from tests.unit.gateway.rig import PASSWORD, Rig, listener, playing_services, running
from tests.unit.gateway.talk import call
from tests.unit.gateway.test_ws import talk

V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
OURS = authority("Root of the CSMS")
"""Whose certificates the gateway shows, and stations trust."""
STATIONS = authority("Root of the operator's stations")
SERVER = {kind: OURS.issue("csms.example", "Operator", kind=kind, host="localhost") for kind in ("EC", "RSA")}
WEAK = {
    "version": [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1],
    "suite": [
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA256",
        "AES128-SHA",
        "DHE-RSA-AES256-GCM-SHA384",
        "AES256-CCM",
        "NULL-SHA256:@SECLEVEL=0",
        "AECDH-AES128-SHA:@SECLEVEL=0",
    ],
}


@dataclass
class Place:
    """A gateway with TLS, its log, and files that a test may change."""

    rig: Rig
    gateway: Gateway
    listener: WsListener
    tls: Tls
    folder: Path
    port: int

    def context(self, own: Certified | None = None, **options: Any) -> ssl.SSLContext:
        return client_context(OURS.pem, own, self.folder, **options)

    def station(
        self, own: Certified | None = None, identity: str = "CS1", password: str | None = PASSWORD, **options: Any
    ) -> connect:
        """To be entered: a station's connection with these TLS options."""
        credentials = "" if password is None else f"{identity}:{password}@"
        return connect(
            f"wss://{credentials}localhost:{self.port}/ocpp/{identity}",
            ssl=self.context(own, **options),
            subprotocols=["ocpp2.0.1"],
            proxy=None,
        )

    async def status(self, own: Certified | None = None, **more: Any) -> int:
        """What HTTP says to a station; 101 where it is let in and answered."""
        try:
            async with self.station(own, **more) as connected:
                assert (await talk(connected, call("1")))[0] == 3
        except InvalidStatus as refused:
            return refused.response.status_code
        return 101

    async def changed(self) -> None:
        """The gateway has looked at its files."""
        assert self.tls.look()

    @property
    def refusals(self) -> dict[str, int]:
        return dict(self.gateway.stats.refusals)


@contextlib.asynccontextmanager
async def served(folder: Path, *, ws: dict[str, Any] | None = None, **rules: Any) -> AsyncIterator[Place]:
    own = tuple(SERVER[kind].write(folder, f"own-{kind}") for kind in SERVER)
    (folder / "cas").mkdir()
    (folder / "cas" / "stations.pem").write_bytes(STATIONS.pem)
    (folder / "crls").mkdir()
    tls = Tls(TlsFiles(own, (folder / "cas",), (folder / "crls",)))
    rig, listening = Rig(), listener(tls, **{"tls_look_s": 3600, **(ws or {})})
    gateway = rig.gateway("gw", listening, **rules)
    async with running(gateway), playing_services(rig):
        yield Place(rig, gateway, listening, tls, folder, listening.port)


# -- what TLS is spoken ------------------------------------------------------------------------------------------------


@pytest.mark.requirement(
    "A00.FR.306", "A00.FR.307", "A00.FR.312", "A00.FR.313", "A00.FR.317", "A00.FR.318", "A00.FR.324"
)
@pytest.mark.parametrize("suite", SUITES)
async def test_each_of_the_four_suites_is_spoken_with_a_password(tmp_path: Path, suite: str) -> None:
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=2)
        async with place.station(version=V1_2, suite=suite) as station:
            assert (await talk(station, call("1")))[0] == 3
            tls = station.transport.get_extra_info("ssl_object")
            assert (tls.cipher()[0], tls.version()) == (suite, "TLSv1.2")
        [change] = [one for one in place.rig.changes() if one.connected]
        assert (change.security_profile, change.credential) == (2, "current")
        wrong = basic("CS1", "wrong")
        assert await place.status(password="wrong", version=V1_2, suite=suite) == 401, wrong


@pytest.mark.requirement("A00.FR.409", "A00.FR.410", "A00.FR.415", "A00.FR.416", "A00.FR.420", "A00.FR.421", "P4.6.5.1")
@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("kind", ["EC", "RSA"])
async def test_each_of_the_four_suites_is_spoken_with_a_certificate_of_either_kind(
    tmp_path: Path, suite: str, kind: Any
) -> None:
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=3, credential=None)
        own = STATIONS.issue("CS1", kind=kind)
        async with place.station(own, password=None, version=V1_2, suite=suite) as station:
            assert (await talk(station, call("1")))[0] == 3
            assert station.transport.get_extra_info("ssl_object").cipher()[0] == suite
        [change] = [one for one in place.rig.changes() if one.connected]
        assert (change.security_profile, change.credential, change.certificate_name) == (3, "", "CS1")


@pytest.mark.parametrize("kind", ["EC", "RSA"])
async def test_tls_1_3_is_spoken(tmp_path: Path, kind: Any) -> None:
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=3, credential=None)
        async with place.station(STATIONS.issue("CS1", kind=kind), password=None, version=V1_3) as station:
            assert (await talk(station, call("1")))[0] == 3
            assert station.transport.get_extra_info("ssl_object").version() == "TLSv1.3"


@pytest.mark.requirement(
    "A00.FR.313", "A00.FR.314", "A00.FR.315", "A00.FR.320", "A00.FR.322", "A00.FR.416", "A00.FR.417", "A00.FR.418",
    "A00.FR.423", "A00.FR.425",
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
@pytest.mark.parametrize("weak", [*WEAK["version"], *WEAK["suite"]], ids=str)
async def test_who_offers_only_what_is_older_or_weaker_is_hung_up_on(tmp_path: Path, weak: Any) -> None:
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=2)
        options = {"version": weak, "suite": "ALL:@SECLEVEL=0"}
        if isinstance(weak, str):
            options = {"version": V1_2, "suite": weak}
        with pytest.raises(ssl.SSLError) as failed:
            await place.status(**options)

        assert "ALERT" in failed.value.reason, "and is told so"
        [cause] = place.refusals
        assert cause in {"tls_unsupported_protocol", "tls_no_shared_cipher"}
        assert place.rig.changes() == []


@pytest.mark.requirement("A00.FR.321", "A00.FR.424")
async def test_nothing_is_compressed_by_tls(tmp_path: Path) -> None:
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=2)
        async with place.station(version=V1_2, options=0) as station:
            assert station.transport.get_extra_info("compression") is None


async def test_a_renegotiation_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as place:
        process = await asyncio.create_subprocess_exec(
            "openssl", "s_client", "-connect", f"127.0.0.1:{place.port}", "-tls1_2",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdin and process.stdout
        async with asyncio.timeout(10):
            said = await process.stdout.readuntil(b"Verify return code")
            process.stdin.write(b"R\n")
            said += await process.stdout.read()
            await process.wait()
    assert b"RENEGOTIATING" in said
    assert b"no renegotiation" in said


async def test_plain_http_on_the_port_of_tls_is_hung_up_on(tmp_path: Path) -> None:
    async with served(tmp_path) as place:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(request(authorization=basic("CS1", PASSWORD)))
        await reader.read()
        writer.close()
        assert list(place.refusals) == ["tls_http_request"]


@pytest.mark.requirement("A00.FR.002")
async def test_a_station_of_profile_1_is_not_served_over_tls_and_one_of_2_only_so(tmp_path: Path) -> None:
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=1)
        await place.rig.register("CS2", security_profile=2)

        assert await place.status() == 401
        assert await place.status(identity="CS2") == 101
        assert place.refusals == {"security_profile": 1}


# -- certificates of stations ------------------------------------------------------------------------------------------

SUB = STATIONS.issue("Operator's sub-CA", ca=True)
STRANGER = authority("Root of nobody we know")


@pytest.mark.requirement("A00.FR.403", "A00.FR.407")
@pytest.mark.parametrize(
    "own",
    [
        STRANGER.issue("CS1"),
        STRANGER.issue("Operator's sub-CA", ca=True).issue("CS1"),
        STATIONS.issue("no authority").issue("CS1"),
        authority("CS1"),
        STATIONS.issue("CS1", kind="RSA", bits=1024),
        SUB.issue("CS1").alone(),
    ],
    ids=["unknown CA", "unknown root", "issued by a station", "self-signed", "weak key", "missing link"],
)
async def test_a_certificate_without_a_path_to_an_authority_ends_the_handshake(tmp_path: Path, own: Certified) -> None:
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=3, credential=None)
        with pytest.raises((ssl.SSLError, ConnectionError, InvalidMessage)):
            await place.status(own, password=None, suite="ALL:@SECLEVEL=0", version=V1_2)

        [cause] = place.refusals
        assert cause.startswith("tls_certificate_"), cause
        assert place.rig.changes() == []


@pytest.mark.requirement("A00.FR.403", "A00.FR.404", "A00.FR.405", "A00.FR.407", "A00.FR.427")
@pytest.mark.parametrize(
    ("own", "cause"),
    [
        (None, "no_certificate"),
        (STATIONS.issue("CS2"), "certificate_name"),
        (STATIONS.issue("CS1", "Somebody"), "certificate_organization"),
        (STATIONS.issue("CS1", None), "certificate_organization"),
        (STATIONS.issue("CS1", days=(-30, -1)), "certificate_expired"),
        (STATIONS.issue("CS1", days=(1, 30)), "certificate_not_yet_valid"),
        (STATIONS.issue("CA", ca=True, days=(-30, -1)).issue("CS1"), "certificate_issuer_expired"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_certificate_that_is_not_the_station_s_is_401_with_the_cause(
    tmp_path: Path, own: Certified | None, cause: str
) -> None:
    async with served(tmp_path, organizations=("Operator",)) as place:
        await place.rig.register("CS1", security_profile=3)

        assert await place.status(own) == 401
        assert place.refusals == {cause: 1}
        assert await place.status(SUB.issue("CS1"), password=None) == 101


@pytest.mark.requirement("A00.FR.408")
async def test_a_refused_certificate_is_logged_with_station_source_and_cause(tmp_path: Path) -> None:
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=3)
        with structlog.testing.capture_logs() as logged:
            await place.status(STATIONS.issue("CS2"))

    [line] = [one for one in logged if one["event"] == "station refused"]
    assert (line["station"], line["source"], line["cause"]) == ("cs1", "127.0.0.1", "certificate_name")


@pytest.mark.requirement("A00.FR.429")
async def test_an_expired_certificate_of_a_named_station_makes_it_pending(tmp_path: Path) -> None:
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=3, allow_expired_certificate=True)
        async with place.station(STATIONS.issue("CS1", days=(-30, -1))) as station:
            answer = await talk(station, call("1"))
            assert (answer[0], answer[2]) == (4, "SecurityError")
            assert (await talk(station, call("2", "BootNotification")))[0] == 3

            await place.rig.register("CS1", security_profile=3)
            with pytest.raises(ConnectionClosed):
                await station.recv()


async def test_a_resumed_session_is_looked_at_like_any_other(tmp_path: Path) -> None:
    """OpenSSL resumes by session id with TLS 1.2; it keeps no path then."""
    own = SUB.issue("CS1")
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=3)
        context = place.context(own, version=V1_2)

        def shake(session: ssl.SSLSession | None) -> tuple[ssl.SSLSocket, bytes]:
            made = context.wrap_socket(
                socket.create_connection(("127.0.0.1", place.port)), server_hostname="localhost", session=session
            )
            made.sendall(request())
            return made, made.recv(1000)

        first, said = await asyncio.to_thread(shake, None)
        assert said.startswith(b"HTTP/1.1 101")
        second, said = await asyncio.to_thread(shake, first.session)
        assert second.session_reused
        assert said.startswith(b"HTTP/1.1 101")

        (tmp_path / "crls" / "sub.crl").write_bytes(SUB.crl(own))
        place.tls.look()
        third, said = await asyncio.to_thread(shake, second.session)
        assert said.startswith(b"HTTP/1.1 401")
        for one in (first, second, third):
            one.close()


# -- what changes while it runs ----------------------------------------------------------------------------------------


@pytest.mark.requirement("A00.FR.407", "A00.FR.702")
async def test_a_list_of_revoked_certificates_counts_as_soon_as_it_is_there(tmp_path: Path) -> None:
    own, other = SUB.issue("CS1"), SUB.issue("CS1")
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=3)
        await place.rig.register("CS2", security_profile=3)
        async with place.station(own) as before, place.station(SUB.issue("CS2"), identity="CS2") as beside:
            (tmp_path / "crls" / "sub.pem").write_bytes(SUB.crl(own, days=(-30, -1)))
            (tmp_path / "crls" / "forged.pem").write_bytes(STRANGER.crl(other))
            await place.changed()

            assert await reason_of_close(before) == "certificate revoked"
            assert await place.status(own) == 401
            assert place.refusals == {"certificate_revoked": 1}
            assert (await talk(beside, call("1")))[0] == 3, "nobody else is dropped"
            assert await place.status(other) == 101
            (tmp_path / "crls" / "root.pem").write_bytes(STATIONS.crl(SUB))
            await place.changed()
            assert await reason_of_close(beside) == "certificate revoked", "an authority in between is"
        assert await place.status(other) == 401


@pytest.mark.requirement("A00.FR.403", "A00.FR.407")
async def test_an_authority_that_is_trusted_no_more_ends_the_connections_of_whom_it_certified(tmp_path: Path) -> None:
    async with served(tmp_path) as place:
        for name in ("CS1", "CS2", "CS3"):
            await place.rig.register(name, security_profile=3 if name != "CS3" else 2)
        (tmp_path / "cas" / "other.pem").write_bytes(STRANGER.pem)
        await place.changed()
        theirs = STRANGER.issue("CS2")
        async with (
            place.station(SUB.issue("CS1")) as ours,
            place.station(theirs, identity="CS2") as station,
            place.station(theirs, identity="CS3") as by_password,
        ):
            (tmp_path / "cas" / "other.pem").unlink()
            await place.changed()

            assert await reason_of_close(station) == "certificate's authority is not trusted any more"
            assert (await talk(ours, call("1")))[0] == 3
            assert (await talk(by_password, call("1")))[0] == 3, "its certificate did not count"


async def test_an_authority_that_is_replaced_by_a_younger_one_of_the_same_key_drops_nobody(tmp_path: Path) -> None:
    root = authority("Root that gets old")
    younger = Certified(root.issue("Root that gets old", ca=True, key=root.key, days=(-1, 300)).certificate, root.key)
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=3)
        await place.rig.register("CS2", security_profile=3)
        (tmp_path / "cas" / "root.pem").write_bytes(root.pem)
        await place.changed()
        async with (
            place.station(root.issue("CS1")) as direct,
            place.station(root.issue("Sub", ca=True).issue("CS2"), identity="CS2") as below,
        ):
            (tmp_path / "cas" / "root.pem").write_bytes(younger.pem)
            await place.changed()
            assert place.tls.changes != place.gateway._trust_seen
            await place.rig.until(lambda: place.tls.changes == place.gateway._trust_seen)

            assert (await talk(direct, call("1")))[0] == 3
            assert (await talk(below, call("1")))[0] == 3


async def test_what_is_kept_of_a_connection_s_certificate_is_small(tmp_path: Path) -> None:
    async with served(tmp_path) as place:
        for name in ("CS1", "CS2"):
            await place.rig.register(name, security_profile=3)
        async with place.station(SUB.issue("CS1")), place.station(SUB.issue("CS2"), identity="CS2"):
            one, two = (place.gateway.hub.sessions[name].grant for name in ("cs1", "cs2"))
            assert one.issuers is two.issuers, "one object for all whom they certified"
            own = (one.fingerprint, one.certificate_name, one.certificate_serial)
            assert sum(map(sys.getsizeof, own)) + 5 * 8 <= 300


async def reason_of_close(station: Any) -> str:
    async with asyncio.timeout(5):
        with pytest.raises(ConnectionClosed) as closed:
            await station.recv()
    return str(closed.value.rcvd.reason)


async def test_a_list_that_somebody_else_signed_under_the_same_name_says_nothing(tmp_path: Path) -> None:
    own, namesake = STATIONS.issue("CS1"), authority("Root of the operator's stations")
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=3)
        (tmp_path / "crls" / "forged.pem").write_bytes(namesake.crl(own))
        await place.changed()
        assert await place.status(own) == 101


async def test_certificates_and_authorities_are_taken_into_use_without_dropping_anybody(tmp_path: Path) -> None:
    async with served(tmp_path, ws={"tls_look_s": 0.01}) as place:
        await place.rig.register("CS1", security_profile=2)
        await place.rig.register("CS2", security_profile=3)
        before = place.tls.context()
        async with place.station() as connected:
            renewed = OURS.issue("csms.example", host="localhost")
            renewed.write(tmp_path, "own-EC")
            (tmp_path / "cas" / "new.pem").write_bytes(STRANGER.pem)
            await place.rig.until(lambda: place.tls.context() is not before)

            assert await place.status(STRANGER.issue("CS2"), identity="CS2") == 101
            async with place.station(identity="CS1") as newer:
                shown = newer.transport.get_extra_info("ssl_object").getpeercert()["serialNumber"]
                assert int(shown, 16) == renewed.certificate.serial_number
            with pytest.raises(ConnectionClosed) as closed:
                await connected.recv()
            assert closed.value.rcvd.reason == "replaced by a newer connection"


async def test_files_that_cannot_be_used_change_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=2)
        for path, text in (("own-EC.pem", b"nonsense"), ("own-EC.key", SERVER["RSA"].key_pem), ("cas/x.pem", b"")):
            was = (tmp_path / path).read_bytes() if (tmp_path / path).exists() else None
            (tmp_path / path).write_bytes(text)
            assert not place.tls.look()
            assert await place.status() == 101
            if was is None:
                (tmp_path / path).unlink()
            else:
                (tmp_path / path).write_bytes(was)
            place.tls.look()
        assert await place.status() == 101


async def test_a_hangup_makes_it_look_at_once_and_ends_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=2)
        before = place.tls.context()
        async with place.station() as station:
            (tmp_path / "cas" / "new.pem").write_bytes(STRANGER.pem)
            assert signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL
            os.kill(os.getpid(), signal.SIGHUP)
            await place.rig.until(lambda: place.tls.context() is not before)
            assert (await talk(station, call("1")))[0] == 3
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_at_the_start_they_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    (chain, key), other = SERVER["EC"].write(tmp_path, "ec"), SERVER["RSA"].write(tmp_path, "rsa")[1]
    for files, says in (
        (TlsFiles(((chain, tmp_path / "none"),)), "none"),
        (TlsFiles(((tmp_path / "none", key),)), "none"),
        (TlsFiles(((chain, other),)), "ec.pem with"),
        (TlsFiles(((chain, key), (chain, key))), "one certificate with an RSA key"),
        (TlsFiles(((chain, key),), (key,)), "ec.key"),
        (TlsFiles(((chain, key),), (), (chain,)), "revocation list"),
    ):
        with pytest.raises(SettingsError, match=says):
            Tls(files)


@pytest.mark.requirement("A00.FR.702")
async def test_an_authority_of_the_csms_s_own_counts_from_its_record_on(tmp_path: Path) -> None:
    own = authority("The CSMS's own")
    station = own.issue("CS1", kind="RSA")
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=3)
        trusted = AuthorityState(
            fingerprint="a" * 64,
            kind="root",
            use="ChargingStationCertificate",
            not_after=1,
            certificate=own.pem.decode(),
        )
        await announce(place, msgspec.structs.replace(trusted, fingerprint="b" * 64, use="V2GCertificate"))
        with pytest.raises((ssl.SSLError, ConnectionError, InvalidMessage)):
            await place.status(station)

        await announce(place, trusted)
        await place.rig.until(lambda: place.tls.authorities.trusted)
        assert await place.status(station) == 101

        async with place.station(station) as connected:
            fingerprint = place.gateway.hub.sessions["cs1"].grant.fingerprint
            revoked = AuthorityState(
                fingerprint=fingerprint, kind="revoked", use="ChargingStationCertificate", not_after=1
            )
            await announce(place, revoked)
            with pytest.raises(ConnectionClosed) as closed:
                await connected.recv()
            assert closed.value.rcvd.reason == "certificate revoked"
        assert await place.status(station) == 401
        assert place.refusals["certificate_revoked"] == 1

        async with place.station(own.issue("CS1")) as connected:
            await announce(place, msgspec.structs.replace(trusted, deleted=True))
            assert await reason_of_close(connected) == "certificate's authority is not trusted any more"


async def announce(place: Place, state: AuthorityState) -> None:
    """What auth writes about an authority, or a revoked certificate."""
    cells = place.gateway._numbers.cells
    at = system_clock()
    value = msgspec.to_builtins(state)
    await place.rig.log.append(
        [state_record(topics.AUTHORITIES, state.fingerprint, value, "/auth", f"{state.fingerprint}/{at}", at, cells)]
    )


# -- a socket's life under TLS -----------------------------------------------------------------------------------------


async def raw_tls(place: Place) -> Raw:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", place.port, ssl=place.context(), server_hostname="localhost"
    )
    return Raw(reader, writer)


async def test_what_comes_with_the_handshake_and_in_odd_pieces_is_read(tmp_path: Path) -> None:
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=2)
        station = await raw_tls(place)
        big = call("2", "DataTransfer", {"data": "x" * 50_000})
        await station.send(request(authorization=basic("CS1", PASSWORD)) + frame(call("1")) + frame(big))
        assert (await station.response())[0] == 101
        said = [(await station.message()).data for _ in range(2)]
        assert [one[:6] for one in said] == [b'[3,"1"', b'[3,"2"']
        station.writer.close()
        await place.rig.until(lambda: not place.gateway.hub.sessions)


async def test_a_big_answer_arrives_whole_and_the_end_is_said(tmp_path: Path) -> None:
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=2)
        async with place.station() as station:
            session = await place.rig.until(lambda: place.gateway.hub.sessions.get("cs1"))
            sent = os.urandom(400_000).hex()
            session.transport.send(sent.encode())
            assert await station.recv() == sent
            place.gateway.hub.end(session, 1012, "enough")
            with pytest.raises(ConnectionClosed) as closed:
                await station.recv()
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1012, "enough")


async def test_a_station_that_goes_without_a_word_is_noticed(tmp_path: Path) -> None:
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=2)
        async with place.station() as station:
            await place.rig.until(lambda: place.gateway.hub.sessions)
            station.transport.abort()
            await place.rig.until(lambda: len(place.rig.changes()) == 2)
            assert place.rig.changes()[1].reason.startswith("1006")


async def test_a_slow_handshake_is_cut_and_counted(tmp_path: Path) -> None:
    async with served(tmp_path, ws={"handshake_timeout_s": 0.1}) as place:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(b"\x16\x03\x01")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        await place.rig.until(lambda: place.refusals)
        assert place.refusals == {"tls_slow": 1}
        assert not place.listener.shaking and not place.listener.opening


async def test_at_the_limit_who_has_been_shaking_hands_for_longest_makes_room(tmp_path: Path) -> None:
    async with served(tmp_path, ws={"connections_max": 3}) as place:
        await place.rig.register("CS1", security_profile=2)
        idle = [await asyncio.open_connection("127.0.0.1", place.port) for _ in range(3)]
        await place.rig.until(lambda: len(place.listener.shaking) == 3)

        assert await place.status() == 101
        with contextlib.suppress(ConnectionError):
            assert await idle[0][0].read() == b""
        assert len(place.listener.shaking) == 2
        for _, writer in idle:
            writer.close()


async def test_a_drain_ends_connections_and_handshakes(tmp_path: Path) -> None:
    async with served(tmp_path) as place:
        await place.rig.register("CS1", security_profile=2)
        async with place.station() as station:
            _, idle = await asyncio.open_connection("127.0.0.1", place.port)
            await place.rig.until(lambda: place.listener.shaking)
            await place.gateway.drain()
            with pytest.raises(ConnectionClosed) as closed:
                await station.recv()
            assert closed.value.rcvd.code == 1012
            idle.close()
