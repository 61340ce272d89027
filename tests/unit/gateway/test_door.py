"""Who is let in."""

import asyncio
import time
from collections.abc import Collection, Mapping
from http import HTTPStatus

import msgspec
import pytest
import structlog

from ocppcore import topics
from ocppcore.clock import system_clock
from ocppcore.contracts.device import StationState
from ocppcore.credentials import hash_chosen, hash_generated
from ocppcore.envelope import Refusal
from ocppcore.log import LogUnavailable, Record, TopicPartition
from ocppcore.memory import MemoryLog
from services.gateway.copies import Station, StationsCopy
from services.gateway.domain.admission import Basic, Knock
from services.gateway.domain.certificates import ClientCertificate
from services.gateway.domain.grants import Grant
from services.gateway.domain.limiter import Rate
from services.gateway.door import Admitted, Door, Refused, Rules, source_of
from services.gateway.metrics import Stats
from services.gateway.passwords import Passwords
from tests.unit.gateway.rig import CELLS, KEY, PASSWORD, Rig

RIGHT = Basic("CS1", PASSWORD)
NOW, DAY = system_clock(), 86_400_000


class House:
    """A door, and the copy behind it, which follows the log only when told to."""

    def __init__(self, **options) -> None:
        self.rig = Rig(options.pop("clock", system_clock))
        self.stations = StationsCopy()
        catch_up_s = options.pop("catch_up_s", 0.05)
        passwords = Passwords(KEY, threads=1, waiting_max=10, remembered_max=10)
        self.stats = Stats()
        self.recorded: list[Refusal] = []
        self.log_is_behind = False
        self.door = Door(
            self.rig.log,
            self.stations,
            passwords,
            self.rig.clock,
            self.stats,
            Rules(**options),
            cells=CELLS,
            catch_up_s=catch_up_s,
            record=self.record,
        )

    def record(self, refusal: Refusal) -> bool:
        if not self.log_is_behind:
            self.recorded.append(refusal)
        return not self.log_is_behind

    def follow(self) -> None:
        for record in self.rig.records(topics.STATIONS):
            self.stations.apply(record)

    async def asked_the_log(self) -> None:
        """Until the door has asked where the log ends."""
        await self.rig.until(lambda: self.door._looks)

    async def asks(self, basic: Basic | None = RIGHT, identity: str = "CS1", **shown) -> HTTPStatus | Station:
        outcome = await self.door.admit(identity, Knock(basic, **shown))
        return outcome.status if isinstance(outcome, Refused) else outcome.station

    async def grants(self, basic: Basic | None = RIGHT, identity: str = "CS1", **shown) -> Grant:
        outcome = await self.door.admit(identity, Knock(basic, **shown))
        assert isinstance(outcome, Admitted), (outcome, self.stats.refusals)
        return outcome.grant


async def house(options: dict | None = None, **state) -> House:
    made = House(**(options or {}))
    await made.rig.register("CS1", **state)
    made.follow()
    return made


@pytest.mark.requirement("A00.FR.207")
async def test_the_right_password_opens():
    door = await house()

    assert (await door.asks()).identity == "CS1"
    assert (await door.asks(identity="cs1")).identity == "CS1"


@pytest.mark.requirement("A00.FR.207", "P4.3.1.1.3")
@pytest.mark.parametrize("basic", [None, Basic("CS1", "wrong"), Basic("CS1", ""), Basic("CS2", PASSWORD)])
async def test_anything_else_does_not(basic):
    assert await (await house()).asks(basic) is HTTPStatus.UNAUTHORIZED


async def test_a_user_name_or_common_name_that_only_folds_to_the_identity_opens_nothing():
    """LATIN SMALL LETTER LONG S folds to s; no identity has it."""
    door = await house()
    assert await door.asks(Basic("C\u017f1", PASSWORD)) is HTTPStatus.UNAUTHORIZED
    assert door.stats.refusals == {"user_name": 1}

    door = await house(security_profile=3)
    shown = certificate(common_names=("C\u017f1",))
    assert await door.asks(secure=True, certificate=shown) is HTTPStatus.UNAUTHORIZED


async def test_a_disabled_station_is_refused_like_a_wrong_password():
    assert await (await house(disabled=True)).asks() is HTTPStatus.UNAUTHORIZED


async def test_a_station_without_a_password_is_refused():
    assert await (await house(credential=None)).asks(Basic("CS1", "")) is HTTPStatus.UNAUTHORIZED
    assert await (await house(credential="nonsense")).asks() is HTTPStatus.UNAUTHORIZED


def certificate(**other) -> ClientCertificate:
    """That of CS1, from the operator, valid now."""
    made = {
        "common_names": ("CS1",),
        "organizations": ("Operator",),
        "fingerprint": "f" * 64,
        "valid_from": NOW - DAY,
        "valid_until": NOW + DAY,
        "issuers_from": NOW - DAY,
        "issuers_until": NOW + DAY,
        **other,
    }
    return ClientCertificate(**made)


SHOWN = {1: {}, 2: {"secure": True}, 3: {"secure": True, "certificate": certificate()}}
"""How a station connects with each security profile; its password comes with all of them."""


@pytest.mark.requirement("A00.FR.001", "A00.FR.002", "A00.FR.006")
@pytest.mark.parametrize("expected", [1, 2])
async def test_a_station_is_let_in_over_the_security_profile_expected_of_it_only(expected):
    door = await house(security_profile=expected)

    assert await door.asks(**SHOWN[3 - expected]) is HTTPStatus.UNAUTHORIZED
    assert (await door.grants(**SHOWN[expected])).security_profile == expected
    assert door.stats.refusals == {"security_profile": 1}


@pytest.mark.requirement("A00.FR.001", "A00.FR.002", "A00.FR.407")
async def test_a_station_of_profile_3_needs_its_certificate_and_no_password():
    door = await house(security_profile=3)

    assert await door.asks() is HTTPStatus.UNAUTHORIZED
    assert await door.asks(**SHOWN[2]) is HTTPStatus.UNAUTHORIZED
    assert door.stats.refusals == {"security_profile": 1, "no_certificate": 1}
    grant = await door.grants(None, **SHOWN[3])
    assert (grant.security_profile, grant.credential, grant.certificate_name) == (3, None, "CS1")


async def test_a_certificate_is_no_password():
    assert await (await house(security_profile=2)).asks(None, **SHOWN[3]) is HTTPStatus.UNAUTHORIZED


WRONG = {
    "certificate_revoked": {"revoked": True},
    "certificate_organization": {"organizations": ("Somebody",)},
    "certificate_name": {"common_names": ("CS2",)},
    "certificate_not_yet_valid": {"valid_from": NOW + DAY},
    "certificate_expired": {"valid_until": NOW - 1},
    "certificate_issuer_expired": {"issuers_until": NOW - 1},
}


@pytest.mark.requirement("A00.FR.404", "A00.FR.405", "A00.FR.407", "A00.FR.427")
@pytest.mark.parametrize("cause", WRONG)
async def test_what_is_wrong_with_a_certificate_is_counted_by_its_name(cause):
    door = await house({"organizations": ("Operator", "Partner")}, security_profile=3)

    refused = await door.asks(secure=True, certificate=certificate(**WRONG[cause]))

    assert (refused, door.stats.refusals) == (HTTPStatus.UNAUTHORIZED, {cause: 1})
    assert (await door.asks(**SHOWN[3])).identity == "CS1"


@pytest.mark.parametrize("names", [(), ("CS1", "CS2"), ("CS1", "CS1"), ("",)])
async def test_a_certificate_has_one_common_name(names):
    door = await house(security_profile=3)

    assert await door.asks(secure=True, certificate=certificate(common_names=names)) is HTTPStatus.UNAUTHORIZED


@pytest.mark.requirement("A00.FR.405", "P4.3.1.1.3")
async def test_the_common_name_is_the_serial_number_where_one_is_registered():
    door = await house(security_profile=3, serial_number="SN-1")

    for name, expected in (("CS1", HTTPStatus.UNAUTHORIZED), ("sn-1", HTTPStatus.UNAUTHORIZED)):
        assert await door.asks(secure=True, certificate=certificate(common_names=(name,))) is expected
    grant = await door.grants(secure=True, certificate=certificate(common_names=("SN-1",)))
    assert grant.certificate_name == "SN-1"


@pytest.mark.requirement("A00.FR.404")
async def test_without_organisations_any_trusted_authority_s_word_counts():
    door = await house(security_profile=3)

    assert (await door.asks(secure=True, certificate=certificate(organizations=()))).identity == "CS1"


@pytest.mark.requirement("A00.FR.429")
async def test_an_expired_certificate_opens_for_a_station_that_is_named_and_only_that():
    expired = certificate(valid_until=NOW - 1)
    door = await house(security_profile=3, allow_expired_certificate=True)

    assert (await door.grants(secure=True, certificate=expired)).expired
    assert not (await door.grants(secure=True, certificate=certificate())).expired
    for other in ({"issuers_until": NOW - 1}, {"valid_from": NOW + DAY}, {"revoked": True}):
        worse = expired._replace(**other)
        assert await door.asks(secure=True, certificate=worse) is HTTPStatus.UNAUTHORIZED


async def test_both_passwords_open_while_one_replaces_the_other_and_it_is_known_which():
    door = await house(next_credential=hash_generated("the-next-password", KEY))

    assert (await door.grants()).by == "current"
    assert (await door.grants(Basic("CS1", "the-next-password"))).by == "next"
    assert await door.asks(Basic("CS1", "another")) is HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize("now, following", [(1, 2), (2, 3), (1, 3), (3, 2)])
async def test_both_profiles_open_during_an_upgrade_and_the_highest_that_fits_counts(now, following):
    door = await house(security_profile=now, next_security_profile=following)

    for profile in (now, following):
        assert (await door.grants(**SHOWN[profile])).security_profile == profile
    [other] = {1, 2, 3} - {now, following}
    shown = SHOWN[other] if other != 3 else {**SHOWN[3]}
    refused = await door.asks(Basic("CS1", "wrong") if other == 3 else RIGHT, **shown)
    assert refused is HTTPStatus.UNAUTHORIZED


@pytest.mark.requirement("P4.6.2.1", "P4.6.5.1")
async def test_a_station_behind_a_local_controller_shows_the_controller_s_credentials():
    door = House()
    await door.rig.register("LC", credential=hash_generated("of-the-controller", KEY))
    await door.rig.register("CS1", controller="LC")
    await door.rig.register("CS2", controller="LC")
    await door.rig.register("CS3", controller="LC9")
    door.follow()

    for identity in ("CS1", "CS2"):
        for user in (identity, "LC"):
            grant = await door.grants(Basic(user, "of-the-controller"), identity)
            assert (grant.carrier, grant.by) == ("lc", "")
        assert await door.asks(Basic(identity, PASSWORD), identity) is HTTPStatus.UNAUTHORIZED
    assert await door.asks(Basic("CS2", "of-the-controller"), "CS1") is HTTPStatus.UNAUTHORIZED
    assert await door.asks(Basic("CS3", "of-the-controller"), "CS3") is HTTPStatus.UNAUTHORIZED
    assert door.stats.refusals == {"password": 2, "user_name": 1, "controller_unknown": 1}


@pytest.mark.requirement("P4.6.5.1")
async def test_a_local_controller_s_certificate_carries_its_stations():
    door = House()
    await door.rig.register("LC", security_profile=3, serial_number="SN-LC")
    await door.rig.register("CS1", security_profile=3, controller="LC", serial_number="SN-1")
    door.follow()

    grant = await door.grants(secure=True, certificate=certificate(common_names=("SN-LC",)))
    assert (grant.carrier, grant.security_profile, grant.certificate_name) == ("lc", 3, "")
    assert await door.asks(secure=True, certificate=certificate(common_names=("SN-1",))) is HTTPStatus.UNAUTHORIZED


async def test_beyond_the_limit_on_failures_only_what_is_right_passes():
    door = await house({"identity": Rate(3, 0.0), "source": Rate(1000, 0.0)})
    wrong = Basic("CS1", "wrong")

    for _ in range(5):
        assert await door.asks(wrong, source="10.0.0.1") is HTTPStatus.UNAUTHORIZED

    assert door.stats.refusals == {"password": 3, "over_limit": 2}
    assert (await door.asks(source="10.0.0.1")).identity == "CS1"
    assert (await door.asks(source="10.0.0.2")).identity == "CS1"


async def test_who_looks_for_identities_soon_hears_nothing_any_more():
    door = await house({"source": Rate(3, 0.0)})

    heard = [await door.asks(identity=f"X{n}", source="10.0.0.1") for n in range(5)]
    heard.append(await door.asks(Basic("CS1", "wrong"), source="10.0.0.1"))

    assert heard == [HTTPStatus.NOT_FOUND] * 3 + [HTTPStatus.UNAUTHORIZED] * 3
    assert await door.asks(identity="X9", source="10.0.0.2") is HTTPStatus.NOT_FOUND


async def test_a_chosen_password_passes_while_others_guess_from_elsewhere():
    door = await house({"identity": Rate(1, 0.0)}, credential=hash_chosen(PASSWORD, KEY))
    guesses = [asyncio.create_task(door.asks(Basic("CS1", f"g{n}"), source="10.0.0.1")) for n in range(20)]

    assert (await door.asks(source="10.0.0.2")).identity == "CS1"

    assert {await guess for guess in guesses} == {HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE}
    again = [asyncio.create_task(door.asks(Basic("CS1", f"h{n}"), source="10.0.0.1")) for n in range(50)]
    assert (await door.asks(source="10.0.0.1")).identity == "CS1", "a password that was right is remembered"
    assert {await guess for guess in again} == {HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE}
    assert door.stats.refusals["unjudged"] + sum(door.stats.refusals[c] for c in ("password", "over_limit")) == 70


CHOSEN = hash_chosen(PASSWORD, KEY)


@pytest.mark.requirement("A00.FR.207", "A00.FR.408")
async def test_a_chosen_password_behind_the_address_of_a_guesser_is_never_called_wrong_unless_it_was_checked():
    """On a gateway that has never seen it: turned away with 503 at the worst, and let in when it comes back."""
    now = [NOW]
    door = await house({"identity": Rate(1, 0.0), "clock": lambda: now[0]}, credential=CHOSEN)

    async def flood(names: str, guesses: int = 50) -> list[HTTPStatus]:
        each = (door.asks(Basic("CS1", f"{names}{n}"), source="10.0.0.1") for n in range(guesses))
        return await asyncio.gather(*each)

    await door.asks(Basic("CS1", "zeroth"), source="10.0.0.1")
    await flood("first")
    failed, recorded = dict(door.stats.refusals), len(door.recorded)
    assert failed["unjudged"] >= 40
    assert await door.asks(source="10.0.0.1") is HTTPStatus.SERVICE_UNAVAILABLE
    assert dict(door.stats.refusals) == {**failed, "unjudged": failed["unjudged"] + 1}
    assert len(door.recorded) == recorded

    now[0] += 5000
    assert HTTPStatus.SERVICE_UNAVAILABLE in await flood("second")
    guessing = asyncio.create_task(flood("third"))
    assert (await door.asks(source="10.0.0.1")).identity == "CS1", "who comes back has a place of its own"
    await guessing


@pytest.mark.parametrize("hide_unknown", [True, False])
async def test_beyond_the_limits_being_turned_away_tells_nothing_of_the_identity(hide_unknown):
    """Whether there is such a station, whether it is disabled, and of which kind its password is."""
    rates = {"identity": Rate(1, 0.0), "source": Rate(1, 0.0)}
    now = [NOW]
    door = await house({**rates, "clock": lambda: now[0], "hide_unknown": hide_unknown}, credential=CHOSEN)
    await door.rig.register("CS2")
    await door.rig.register("CS3", disabled=True)
    await door.rig.register("CS4", disabled=True, credential=CHOSEN)
    door.follow()
    await door.asks(identity="CS8", source="10.0.0.1")
    heard = set()
    for identity in ("CS1", "CS2", "CS3", "CS4", "CS9"):
        now[0] += 60_000
        said = [await door.asks(Basic(identity, f"g{n}"), identity, source="10.0.0.1") for n in range(15)]
        heard.add(tuple(said))

    assert heard == {(HTTPStatus.UNAUTHORIZED,) * 10 + (HTTPStatus.SERVICE_UNAVAILABLE,) * 5}


async def test_a_certificate_passes_whatever_else_is_guessed_at_its_station():
    door = await house({"identity": Rate(1, 0.0)}, credential=CHOSEN, security_profile=3)
    for n in range(30):
        await door.asks(Basic("CS1", f"g{n}"), source="10.0.0.1")

    assert (await door.grants(source="10.0.0.1", **SHOWN[3])).security_profile == 3


@pytest.mark.requirement("P4.3.2.2")
async def test_an_unknown_station_is_not_found_or_hidden():
    assert await (await house()).asks(identity="CS9") is HTTPStatus.NOT_FOUND
    assert await (await house({"hide_unknown": True})).asks(identity="CS9") is HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize(
    "options, state", [({"allow_unauthenticated": True}, {}), ({}, {"allow_unauthenticated": True})]
)
async def test_an_open_door_must_be_asked_for_by_name(options, state):
    door = await house(options, **state)

    assert (await door.asks(None)).identity == "CS1"
    assert await door.asks(Basic("CS1", "wrong")) is HTTPStatus.UNAUTHORIZED, "a wrong password is still wrong"
    assert await door.asks(None, "CS9") is HTTPStatus.NOT_FOUND


async def test_who_was_registered_a_moment_before_is_waited_for():
    door = await house({"catch_up_s": 5.0})
    await door.rig.register("CS2")

    asked = asyncio.create_task(door.asks(Basic("CS2", PASSWORD), "CS2"))
    await door.asked_the_log()
    assert not asked.done()
    door.follow()
    assert (await asked).identity == "CS2"


async def test_whose_password_was_changed_a_moment_before_is_waited_for():
    door = await house({"catch_up_s": 5.0}, credential=None)
    await door.rig.register("CS1")

    asked = asyncio.create_task(door.asks())
    await door.asked_the_log()
    door.follow()
    assert (await asked).identity == "CS1"


async def test_a_copy_that_stays_behind_is_503_not_404():
    door = await house()
    await door.rig.register("CS9")

    assert await door.asks(identity="CS9") is HTTPStatus.SERVICE_UNAVAILABLE


async def test_a_storm_of_strangers_asks_the_log_once_or_twice():
    door = await house()
    asked = 0
    ends = door.rig.log.ends

    async def counted(partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        nonlocal asked
        asked += 1
        for _ in range(100):
            await asyncio.sleep(0)
        return await ends(partitions)

    door.rig.log.ends = counted
    outcomes = await asyncio.gather(*(door.asks(identity=f"X{n}") for n in range(200)))

    assert set(outcomes) == {HTTPStatus.NOT_FOUND}
    assert asked <= 2


async def test_it_knows_who_is_registered():
    door = await house()

    assert await door.door.knows("cs1")
    assert not await door.door.knows("cs9")
    assert isinstance(door.rig.records(topics.STATIONS)[0], Record)


async def test_a_flood_is_logged_once_and_then_only_counted():
    door = await house({"identity": Rate(2, 0.0)})
    with structlog.testing.capture_logs() as logged:
        for _ in range(10):
            await door.asks(Basic("CS1", "wrong"), source="10.0.0.1")

    assert [line["event"][:16] for line in logged] == ["station refused", "station refused", "too many handsha"]
    assert all(line["source"] == "10.0.0.1" and line["station"] == "cs1" for line in logged)


@pytest.mark.requirement("A00.FR.408")
async def test_a_registered_station_s_refused_handshake_is_recorded_with_its_cause():
    door = await house({"organizations": ("Operator",)}, security_profile=3)
    await door.asks(None, source="10.0.0.1", secure=True, certificate=certificate(common_names=("CS2",)))
    await door.asks(None, source="10.0.0.1", secure=True)
    await door.asks(RIGHT, source="10.0.0.2")

    assert [(one.identity, one.cause, one.address, one.secure) for one in door.recorded] == [
        ("CS1", "certificate_name", "10.0.0.1", True),
        ("CS1", "no_certificate", "10.0.0.1", True),
        ("CS1", "security_profile", "10.0.0.2", False),
    ]


@pytest.mark.parametrize("hide_unknown", [False, True])
async def test_who_is_not_registered_and_who_is_let_in_leave_no_record(hide_unknown: bool):
    door = await house({"hide_unknown": hide_unknown})
    await door.asks()
    await door.asks(identity="CS2")

    assert door.recorded == []
    assert door.stats.refusals_unrecorded == 0


async def test_a_flood_leaves_a_few_records_and_the_number_of_the_others():
    now = NOW - NOW % 60_000
    door = await house({"recorded_per_station": 2, "recorded_max": 3, "clock": lambda: now})
    for _ in range(50):
        await door.asks(Basic("CS1", "wrong"))
    assert ([one.more for one in door.recorded], door.stats.refusals_unrecorded) == ([0, 0], 48)

    now += 60_000
    await door.asks(Basic("CS1", "wrong"))
    assert [one.more for one in door.recorded] == [0, 0, 48 - door.stats.refusals["unjudged"]]
    assert door.stats.refusals["unjudged"] == 50 - 20 - 10


async def test_what_the_log_has_no_room_for_is_counted():
    door = await house()
    door.log_is_behind = True
    await door.asks(None)
    assert door.stats.refusals_unrecorded == 1

    door.log_is_behind = False
    await door.asks(None)
    assert [one.more for one in door.recorded] == [1]


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (("Somebody",), "the certificate's O is 'Somebody', CSMS_OCPP_ORGANIZATIONS has 'Operator' or 'Partner, Inc.'"),
        ((), "the certificate's O is none, CSMS_OCPP_ORGANIZATIONS has 'Operator' or 'Partner, Inc.'"),
        (
            ("OPERATOR ",),
            "the certificate's O is 'OPERATOR ', CSMS_OCPP_ORGANIZATIONS has 'Operator' or 'Partner, Inc.': "
            "they differ in case or spaces only",
        ),
    ],
)
async def test_the_log_says_which_organisation_was_shown_and_which_was_wanted(shown: tuple[str, ...], why: str):
    door = await house({"organizations": ("Operator", "Partner, Inc.")}, security_profile=3)
    with structlog.testing.capture_logs() as logged:
        await door.asks(None, secure=True, certificate=certificate(organizations=shown))

    assert [(line["cause"], line["why"]) for line in logged] == [("certificate_organization", why)]


async def test_many_addresses_at_many_stations_do_not_fill_the_log():
    """Each of them is within its limits, and is counted; the log has its own."""
    door = await house({"logged": Rate(10, 0.001)})
    with structlog.testing.capture_logs() as logged:
        await asyncio.gather(*(door.asks(identity=f"X{n}", source=f"10.0.1.{n}") for n in range(50)))
        door.door.failed("10.0.2.1", "tls")
        assert len(logged) == 10
        door.door._clock = lambda: system_clock() + 1_000_000
        door.door.failed("10.0.2.2", "tls")
    assert (len(logged), door.stats.refusals) == (11, {"unknown": 50, "tls": 2})


@pytest.mark.parametrize(
    "address, source",
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_who_has_a_whole_network_of_ipv6_is_one_source(address, source):
    assert source_of(address) == source


class Held:
    """A log whose ends are told only when `open` is set; they are those of the moment when they were asked for."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.open = asyncio.Event()
        self.asked = 0

    async def ends(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.asked += 1
        ends = await self.log.ends(partitions)
        await self.open.wait()
        return ends


async def test_all_who_ask_before_a_look_share_it_and_who_asks_later_gets_another():
    """The station is registered while a look is under way: that look does not know it, and must not speak for it."""
    door = House(catch_up_s=5.0)
    held = Held(door.rig.log)
    door.door._log = held
    strangers = [asyncio.create_task(door.asks(identity=f"X{n}")) for n in range(50)]
    await door.rig.until(lambda: held.asked)
    await door.rig.register("CS1")
    late = asyncio.create_task(door.asks())
    held.open.set()
    assert await asyncio.gather(*strangers) == [HTTPStatus.NOT_FOUND] * 50
    await door.rig.until(lambda: held.asked == 2)
    door.follow()
    assert isinstance(await late, Station)
    assert held.asked == 2


async def test_a_log_that_fails_fails_those_who_asked_and_nobody_later():
    door = House()
    held = Held(door.rig.log)
    door.door._log = held

    async def broken(_: object) -> Mapping[TopicPartition, int]:
        raise LogUnavailable("away")

    held.ends, whole = broken, held.ends
    outcomes = await asyncio.gather(*(door.asks(identity=f"X{n}") for n in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [LogUnavailable] * 3
    held.ends = whole
    held.open.set()
    assert await door.asks() == HTTPStatus.NOT_FOUND


async def test_ten_thousand_stations_that_come_back_at_once_cost_less_than_a_second_of_cpu():
    """Passwords that the CSMS made, right ones: no question to the log, no thread, no slow hash."""
    door = House()
    stored = hash_generated(PASSWORD, KEY)
    for n in range(10_000):
        value = msgspec.json.encode(
            StationState(id=f"CS{n}", security_profile=1, credential=stored, registration="Accepted")
        )
        door.stations.apply(Record(topics.STATIONS, 0, n, f"cs{n}", value, {}, 0))

    began = time.process_time()
    for n in range(10_000):
        assert isinstance(await door.door.admit(f"CS{n}", Knock(Basic(f"CS{n}", PASSWORD))), Admitted)

    assert time.process_time() - began < 1.0
    assert door.door._looks == 0
