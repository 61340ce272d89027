"""Who holds which slot: the same answer for every reader, also of a topic that was compacted."""

from ocppcore.envelope import GatewayLease, lease_record
from ocppcore.leases import Leases
from ocppcore.log import Record


def record(lease: GatewayLease, position: int, at: int) -> Record:
    new = lease_record(lease, at)
    return Record(new.topic, 0, position, new.key, new.value, new.headers, at)


def claim(gateway: str, position: int, at: int, slot: int = 0) -> Record:
    return record(GatewayLease(slot=slot, gateway=gateway, until=at + 1000), position, at)


def renewal(gateway: str, claim_: int, position: int, at: int, *, released: bool = False) -> Record:
    lease = GatewayLease(slot=0, gateway=gateway, until=at + 1000, claim=claim_, released=released)
    return record(lease, position, at)


def fold(*records: Record) -> Leases:
    leases = Leases()
    for one in records:
        leases.apply(one)
    return leases


def test_the_first_claim_in_log_order_wins() -> None:
    leases = fold(claim("a", 5, 0), claim("b", 6, 10))
    assert leases.live(0, 5, 500) and not leases.live(0, 6, 500)


def test_a_slot_is_free_again_when_its_lease_has_ended() -> None:
    leases = fold(claim("a", 5, 0), claim("b", 6, 1000))
    assert leases.live(0, 6, 1500)
    assert leases.over(0, 5, 1000) and not leases.over(0, 5, 999)


def test_a_renewal_prolongs_its_own_claim_only() -> None:
    leases = fold(claim("a", 5, 0), renewal("a", 5, 6, 900), renewal("b", 4, 7, 950))
    assert leases.live(0, 5, 1800) and leases.holder(0, 1800).gateway == "a"  # type: ignore[union-attr]


def test_a_release_ends_it_at_once() -> None:
    leases = fold(claim("a", 5, 0), renewal("a", 5, 6, 100, released=True))
    assert leases.over(0, 5, 100) and leases.taken(100) == frozenset()


def test_a_renewal_whose_claim_was_compacted_away_still_holds() -> None:
    leases = fold(renewal("a", 5, 60, 5000))
    assert leases.live(0, 5, 5500) and not leases.over(0, 5, 5500)
    leases.apply(claim("b", 61, 5600))
    assert leases.live(0, 5, 5700)


def test_an_unknown_claim_ended_long_ago() -> None:
    assert Leases().over(3, 17, 0)


def test_what_stands_changes_when_a_claim_is_over() -> None:
    leases = fold(claim("a", 5, 0), claim("a", 6, 1000))
    assert leases.standing(999) == {(0, 5), (0, 6)}
    assert leases.standing(1000) == {(0, 6)}
