"""TLS of the real process: suites by OpenSSL's own client, certificates changed under load, stations that play on."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from websockets.exceptions import ConnectionClosed, InvalidMessage

from csms.harness import embedded, temporary_directory
from services.gateway.tls import SUITES
from tests.support.guarded import PASSWORD, Guarded, beat
from tests.support.ingress import ingress
from tests.support.pki import authority
from tests.support.third_party import eventually

pytest_plugins = [
    "tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_system", "tests.support.guarded_broker"
]  # fmt: skip


def s_client(guarded: Guarded, *options: str) -> subprocess.CompletedProcess[str]:
    """OpenSSL's client, which speaks whatever it is told to, shakes hands and goes."""
    trust = guarded.folder / "csms-root.pem"
    trust.write_bytes(guarded.csms.pem)
    return subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{guarded.tls_port}", "-CAfile", str(trust), "-servername",
         "localhost", "-verify_return_error", *options],
        input="", capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip


@pytest.mark.requirement("A00.FR.318", "A00.FR.421")
@pytest.mark.parametrize("suite", SUITES)
async def test_openssl_speaks_each_suite(guarded: Guarded, suite: str) -> None:
    ran = await asyncio.to_thread(s_client, guarded, "-tls1_2", "-cipher", suite)

    assert ran.returncode == 0, ran.stderr
    assert f"Cipher is {suite}" in ran.stdout
    assert "Compression: NONE" in ran.stdout
    assert "Verify return code: 0 (ok)" in ran.stdout
    kind = "id-ecPublicKey" if "ECDSA" in suite else "rsaEncryption"
    assert f"a:PKEY: {kind}" in ran.stdout, ran.stdout


@pytest.mark.requirement("A00.FR.315", "A00.FR.322", "A00.FR.418", "A00.FR.425")
@pytest.mark.parametrize(
    "options",
    [
        ("-tls1", "-cipher", "ALL:@SECLEVEL=0"),
        ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
        ("-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES256-SHA384:AES256-SHA:NULL:@SECLEVEL=0"),
    ],
    ids=["TLS 1.0", "TLS 1.1", "other suites"],
)
async def test_openssl_is_refused_what_is_old_or_weak(guarded: Guarded, options: tuple[str, ...]) -> None:
    ran = await asyncio.to_thread(s_client, guarded, *options)

    assert ran.returncode != 0
    assert "alert" in ran.stderr, ran.stderr
    assert "Cipher is (NONE)" in ran.stdout


@pytest.mark.requirement("A00.FR.001", "A00.FR.002", "A00.FR.004", "A00.FR.006")
async def test_three_stations_of_three_profiles_at_once_and_each_with_its_own_only(guarded: Guarded) -> None:
    names = [await guarded.register(f"Profile-{n}", securityProfile=n) for n in (1, 2, 3)]
    certificate = guarded.context(guarded.operator.issue("Profile-3"))
    ways = {1: {}, 2: {"tls": guarded.context()}, 3: {"tls": certificate, "password": None}}

    for expected, name in enumerate(names, 1):
        for profile, way in ways.items():
            # A certificate beside the password is not asked for, and does no harm.
            wanted = 101 if profile == expected else 401
            assert await guarded.status(name, **way) == wanted, (name, profile)
        frames = (await guarded.http.get(f"/gateway/stations/{name}/frames")).json()
        assert frames, "what it said is in the log"


@pytest.mark.requirement("A00.FR.404", "A00.FR.405", "A00.FR.407", "A00.FR.408")
async def test_a_wrong_certificate_is_refused_counted_and_logged(guarded: Guarded) -> None:
    name = await guarded.register("Certified-1", securityProfile=3, serialNumber="SN-77")
    for own, cause in (
        (guarded.operator.issue("Certified-1"), "certificate_name"),
        (guarded.operator.issue("SN-77", "Somebody"), "certificate_organization"),
        (guarded.operator.issue("SN-77", days=(-9, -1)), "certificate_expired"),
    ):
        before = await guarded.refusals(cause)
        assert await guarded.status(name, None, tls=guarded.context(own)) == 401
        assert await guarded.refusals(cause) == before + 1
        [line] = [one for one in guarded.log() if one.get("cause") == cause and one.get("station") == "certified-1"]
        assert (line["source"], line["tls"]) == ("127.0.0.1", True)
    events = await guarded.observed(name, 3)
    assert [(event["type"], event["critical"]) for event in events] == [("InvalidChargingStationCertificate", True)] * 3
    causes = [event["techInfo"].split()[0] for event in reversed(events)]
    assert causes == ["certificate_name", "certificate_organization", "certificate_expired"]
    for organization in ("Operator", "Partner, Inc."):
        assert (
            await guarded.status(name, None, tls=guarded.context(guarded.operator.issue("SN-77", organization))) == 101
        )


@pytest.mark.requirement("A00.FR.408", "A00.FR.429")
async def test_an_expired_certificate_makes_a_named_station_pending(guarded: Guarded) -> None:
    name = await guarded.register("Expired-1", securityProfile=3, allowExpiredCertificate=True)
    boot = {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}
    for days, status in (((-9, -1), "Pending"), ((-1, 9), "Accepted")):
        context = guarded.context(guarded.operator.issue(name, days=days))
        async with guarded.station(name, None, tls=context) as station:
            await station.send(json.dumps([2, "boot", "BootNotification", boot]))
            assert json.loads(await station.recv())[2]["status"] == status
    [event] = await guarded.observed(name, 1)
    assert event["techInfo"] == "certificate_expired admitted over TLS"


async def test_certificates_are_renewed_while_stations_talk(guarded: Guarded) -> None:
    """New server certificate, new authority, a revoked station: nobody who is there notices."""
    stations = [await guarded.register(f"Renewed-{n}", securityProfile=2) for n in range(3)]
    newcomer = await guarded.register("Renewed-3", securityProfile=3)
    another = authority("Root of a partner")
    context = guarded.context()
    async with (
        guarded.station(stations[0], tls=context) as a,
        guarded.station(stations[1], tls=context) as b,
        guarded.station(stations[2], tls=context) as c,
    ):
        renewed = guarded.csms.issue("localhost", host="localhost")
        renewed.write(guarded.folder, "EC")
        (guarded.folder / "cas" / "partner.pem").write_bytes(another.pem)
        own = guarded.context(another.issue(newcomer, "Partner, Inc."))

        async def admitted() -> bool:
            for station in (a, b, c):
                await beat(station)
            try:
                return await guarded.status(newcomer, None, tls=own) == 101
            except (OSError, InvalidMessage):  # its authority is not trusted yet
                return False

        await eventually(admitted, bool)
        for station in (a, b, c):
            await beat(station)
    shown = (await asyncio.to_thread(s_client, guarded, "-tls1_3", "-sigalgs", "ECDSA+SHA256")).stdout
    assert renewed.certificate.public_bytes(Encoding.PEM).decode() in shown


@pytest.mark.parametrize(
    "change",
    [
        {"password": "another-password-of-this-station"},
        {"securityProfile": 3},
        {"disabled": True},
    ],
    ids=str,
)
async def test_a_change_of_what_lets_it_in_closes_the_live_socket_within_a_second(
    guarded: Guarded, change: dict[str, object]
) -> None:
    name = await guarded.register(securityProfile=2)
    async with guarded.station(name, tls=guarded.context()) as station:
        await beat(station)
        began = asyncio.get_running_loop().time()
        await guarded.patch(name, **change)
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(5):
                await station.recv()
        assert asyncio.get_running_loop().time() - began < 1.0
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
    assert await guarded.status(name, tls=guarded.context()) == 401


async def test_a_controller_s_certificate_carries_the_stations_behind_it(guarded: Guarded) -> None:
    controller = await guarded.register("Controller-1", securityProfile=3)
    behind = [await guarded.register(f"Behind-{n}", controller=controller, securityProfile=3) for n in range(2)]
    stranger = await guarded.register("Behind-9", securityProfile=3)
    context = guarded.context(guarded.operator.issue(controller))

    async with guarded.station(behind[0], None, tls=context) as a, guarded.station(behind[1], None, tls=context) as b:
        await beat(a)
        await beat(b)
        assert await guarded.status(controller, None, tls=context) == 101
        assert await guarded.status(stranger, None, tls=context) == 401
        await guarded.patch(controller, disabled=True)
        for station in (a, b):
            with pytest.raises(ConnectionClosed):
                async with asyncio.timeout(5):
                    await station.recv()


@pytest.mark.parametrize("profile", [2, 3])
async def test_simulated_stations_charge_over_tls_with_nothing_lost(
    guarded: Guarded, tmp_path: Path, profile: int
) -> None:
    (tmp_path / "root.pem").write_bytes(guarded.csms.pem)
    prefix = f"SIM{profile}"
    for number in (1, 2):
        guarded.operator.issue(f"{prefix}-{number:05d}").write(tmp_path, f"{prefix}-{number:05d}")
    with ingress(guarded.system) as api:
        ran = await guarded.system.csms(
            "simulate", "--stations", "2", "--profile", str(profile), "--ca-file", str(tmp_path / "root.pem"),
            "--certificates", str(tmp_path), "--prefix", prefix, "--duration", "6", "--speed", "600",
            "--faults", "offline,reconnect-storm", "--api", api, "--key", guarded.system.key,
            "--url", guarded.system.secured[0].replace("127.0.0.1", "localhost"),
            seconds=120,
        )  # fmt: skip
    assert ran.code == 0, ran.output
    assert "All promises were kept" in ran.output


async def test_up_says_where_stations_connect_and_what_is_wrong_with_the_files(guarded_system: Guarded) -> None:
    guarded = guarded_system
    output = guarded.system.programs["up"].output

    async def said() -> str:
        return await asyncio.to_thread(output.read_text)

    await eventually(said, lambda text: f"wss://127.0.0.1:{guarded.tls_port}/ocpp/" in text)
    with temporary_directory() as place:
        broken = embedded(place, CSMS_OCPP_TLS_CERTS=f"{place}/none.pem:{place}/none.key")
        ran = await broken.csms("up", seconds=60)
    assert (ran.code, "none.pem" in ran.output, "Traceback" in ran.output) == (1, True, False), ran.output


async def test_a_password_given_to_a_station_works_over_every_profile_that_has_one(guarded: Guarded) -> None:
    """The same credential before and after the profile changes."""
    name = await guarded.register("Moved-1")
    assert await guarded.status(name) == 101
    await guarded.patch(name, securityProfile=2)
    assert await guarded.status(name, PASSWORD, tls=guarded.context()) == 101
    assert await guarded.status(name) == 401
