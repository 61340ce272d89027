"""How many handshakes may fail."""

from services.gateway.domain.limiter import RETURNS_MS, Buckets, Gate, Limiter, PerMinute, Rate


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


def test_so_many_of_each_and_of_all_in_a_minute_and_the_next_one_tells_how_many_were_left_out():
    records = PerMinute(2, 3, 10)

    assert [records.takes("a", 59_000) for _ in range(5)] == [0, 0, None, None, None]
    assert [records.takes("b", 59_999) for _ in range(2)] == [0, None], "all together have had three"
    assert [records.takes("a", 60_000), records.takes("a", 60_000), records.takes("a", 60_001)] == [3, 0, None]
    assert records.takes("b", 61_000) == 1


def test_what_came_to_nothing_is_told_of_by_the_next_one():
    records = PerMinute(3, 9, 10)
    records.gives_back("a", records.takes("a", 0) or 0)

    assert records.takes("a", 0) == 1
    assert records.takes("a", 0) == 0


def test_the_clock_that_goes_back_gives_nobody_another_minute():
    records = PerMinute(1, 9, 10)

    assert [records.takes("a", at) for at in (120_000, 0, 119_999)] == [0, None, None]


def test_of_a_crowd_only_those_that_came_last_are_remembered():
    records = PerMinute(1, 100, 3)
    for key in "abcad":
        records.takes(key, 0)

    assert len(records) == 3
    assert [records.takes(key, 0) for key in "adc"] == [None, None, None]


def test_who_comes_back_with_the_same_password_has_a_place_of_its_own():
    gate = Gate(Rate(2, 0.0), Rate(3, 0.0), 10)
    assert [gate.lets(b"%d" % n, "cs1", "a", 0) for n in range(4)] == [True, True, False, False]
    assert not gate.lets(b"3", "cs1", "a", RETURNS_MS - 1), "at once is not coming back"
    assert gate.lets(b"3", "cs1", "a", RETURNS_MS)
    assert not gate.lets(b"4", "cs1", "a", RETURNS_MS)


def test_a_source_is_let_through_for_so_many_identities_together():
    gate = Gate(Rate(2, 0.0), Rate(3, 1.0), 10)
    assert [gate.lets(b"%d" % n, f"cs{n}", "a", 0) for n in range(4)] == [True, True, True, False]
    assert gate.lets(b"5", "cs5", "b", 0)
    assert gate.lets(b"6", "cs6", "a", 1000)


def test_passwords_that_were_turned_away_are_remembered_in_bounds():
    gate = Gate(Rate(0, 0.0), Rate(0, 0.0), 10)
    for n in range(100):
        assert not gate.lets(b"%d" % n, "cs1", "a", n)
    assert len(gate) == 10
