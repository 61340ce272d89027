"""How many handshakes may fail."""

from services.gateway.domain.limiter import Buckets, Limiter, Rate


def test_a_burst_then_so_many_a_second():
    buckets = Buckets(Rate(3, 2.0), 10)

    assert [buckets.take("a", 0) for _ in range(5)] == [True, True, True, False, False]
    assert buckets.has_room("b", 0)
    assert not buckets.has_room("a", 499)
    assert buckets.take("a", 500)
    assert [buckets.take("a", 60_000) for _ in range(4)] == [True, True, True, False], "it never holds more"


def test_a_flood_does_not_push_the_end_of_the_limit_away():
    buckets = Buckets(Rate(1, 1.0), 10)
    buckets.take("a", 0)

    for at in range(0, 1000, 10):
        assert not buckets.take("a", at)
    assert buckets.take("a", 1001)


def test_only_so_many_are_remembered_those_that_failed_last():
    buckets = Buckets(Rate(1, 0.0), 3)
    for key in "abcad":
        buckets.take(key, 0)

    assert len(buckets) == 3
    assert [buckets.has_room(key, 0) for key in "abcd"] == [False, True, False, False]


def test_identity_and_source_are_limited_each():
    limiter = Limiter(Rate(1, 0.0), Rate(2, 0.0), 10)

    assert limiter.failed("cs1", "x", 0)
    assert limiter.suspects("cs1", "y", 0)
    assert not limiter.suspects("cs2", "x", 0)
    assert not limiter.failed("cs1", "x", 0)
    assert limiter.suspects("cs2", "x", 0)
    assert not limiter.suspects("cs2", "y", 0)


def test_who_names_no_station_costs_none():
    limiter = Limiter(Rate(1, 0.0), Rate(9, 0.0), 10)
    limiter.failed("", "x", 0)

    assert not limiter.suspects("", "y", 0)
