"""How many handshakes may fail, per identity and per source: token buckets of bounded number. No IO.

Only failures cost. A right password or certificate passes however empty the buckets are, so that nobody can lock a
station out by guessing, and stations that share an address do not pay for one another.
"""

from collections import OrderedDict
from typing import Final, NamedTuple


class Rate(NamedTuple):
    """`burst` at once, `per_s` in the long run."""

    burst: int
    per_s: float


class Buckets:
    """One bucket per key; full ones are forgotten first, as they are the ones that nobody has used for longest."""

    def __init__(self, rate: Rate, keys_max: int) -> None:
        self._rate = rate
        self._keys_max = keys_max
        self._left: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._left)

    def has_room(self, key: str, now: int) -> bool:
        """Whether the key may fail once more. `now` in ms."""
        return self._tokens(key, now) >= 1.0

    def take(self, key: str, now: int) -> bool:
        """A failure: whether it was within the rate. Those beyond cost nothing, else a flood would never end."""
        tokens = self._tokens(key, now)
        within = tokens >= 1.0
        self._left[key] = (tokens - 1.0 if within else tokens, now)
        self._left.move_to_end(key)
        if len(self._left) > self._keys_max:
            self._left.popitem(last=False)
        return within

    def _tokens(self, key: str, now: int) -> float:
        tokens, at = self._left.get(key, (float(self._rate.burst), now))
        return min(float(self._rate.burst), tokens + max(0, now - at) * self._rate.per_s / 1000)


class _Count:
    """Of one key: how many were taken in which minute, and how many since the last one taken were not."""

    __slots__ = ("left_out", "minute", "taken")

    def __init__(self) -> None:
        self.minute = -1
        self.taken = 0
        self.left_out = 0


class PerMinute:
    """So many of each key, and of all together, in each minute of the clock; what is beyond is counted.

    Of `keys_max` keys, those that came last.
    """

    def __init__(self, each: int, together: int, keys_max: int) -> None:
        self._each = each
        self._together = together
        self._keys_max = keys_max
        self._all = _Count()
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def takes(self, key: str, now: int) -> int | None:
        """None: it is one too many, and counted. Else how many of the key were, since the last one that was not."""
        minute = now // 60_000
        count = self._counts.setdefault(key, _Count())
        self._counts.move_to_end(key)
        if len(self._counts) > self._keys_max:
            self._counts.popitem(last=False)
        for one in (count, self._all):
            if minute > one.minute:
                one.minute, one.taken = minute, 0
        if count.taken >= self._each or self._all.taken >= self._together:
            count.left_out += 1
            return None
        count.taken += 1
        self._all.taken += 1
        left_out, count.left_out = count.left_out, 0
        return left_out

    def gives_back(self, key: str, left_out: int) -> None:
        """What was taken last came to nothing: it is counted, with those that it would have told of."""
        if (count := self._counts.get(key)) is not None:
            count.left_out += left_out + 1


class Limiter:
    """Both buckets of a handshake: that of the identity in its URL, that of the address it comes from."""

    def __init__(self, identity: Rate, source: Rate, keys_max: int) -> None:
        self._identities = Buckets(identity, keys_max)
        self._sources = Buckets(source, keys_max)

    def suspects(self, identity: str, source: str, now: int) -> bool:
        """Whether so many failed that only what is right passes, and nothing costly is done to find out."""
        return not (self._identities.has_room(identity, now) and self._sources.has_room(source, now))

    def failed(self, identity: str, source: str, now: int) -> bool:
        """Count a failure; whether it was within both limits. An empty identity is nobody's: only the source pays."""
        within = self._sources.take(source, now)
        return (self._identities.take(identity, now) and within) if identity else within


RETURNS_MS: Final = 1000
"""Who was turned away and comes back with the same password no sooner than this has waited as it was told to."""


class Gate:
    """Which passwords are looked at while too many fail: so many of each identity and source together, so many of each
    source, whatever identity it is, so that being turned away tells nothing about it.

    Who comes back with the same password has buckets apart from who comes with a new one: a station does, a guesser
    does not, or it is the slower for it. Of `keys_max` passwords that were turned away, the last ones.
    """

    def __init__(self, pair: Rate, source: Rate, keys_max: int) -> None:
        self._pairs = Buckets(pair, keys_max)
        self._sources = Buckets(source, keys_max)
        self._keys_max = keys_max
        self._turned_away: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._turned_away)

    def lets(self, mark: bytes, identity: str, source: str, now: int) -> bool:
        """Whether the password that `mark` stands for is looked at. `now` in ms."""
        since = self._turned_away.get(mark)
        kind = "new" if since is None or now < since + RETURNS_MS else "again"
        by_pair, by_source = f"{kind} {source} {identity}", f"{kind} {source}"
        if self._pairs.has_room(by_pair, now) and self._sources.has_room(by_source, now):
            self._pairs.take(by_pair, now)
            self._sources.take(by_source, now)
            self._turned_away.pop(mark, None)
            return True
        self._turned_away[mark] = now if since is None else since
        self._turned_away.move_to_end(mark)
        if len(self._turned_away) > self._keys_max:
            self._turned_away.popitem(last=False)
        return False
