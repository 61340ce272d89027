"""A small random generator with its whole state in one integer (splitmix64), so that ten thousand stations
stay small and a seed means the same run on every Python version. Not for secrets."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")
_MASK = (1 << 64) - 1


class Rng:
    """Draws depend on the seed and on nothing else."""

    __slots__ = ("_state",)

    def __init__(self, *seed: int | str) -> None:
        text = "/".join(str(part) for part in seed)
        self._state = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")

    def bits(self) -> int:
        """64 random bits."""
        self._state = z = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.bits() < probability * (_MASK + 1)

    def between(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return low + self.bits() % (high - low + 1)

    def choice(self, items: Sequence[T]) -> T:
        return items[self.bits() % len(items)]

    def uuid(self) -> str:
        """A version 4 UUID of 36 characters."""
        high = (self.bits() & ~0xF000) | 0x4000
        low = (self.bits() & (_MASK >> 2)) | (1 << 63)
        text = f"{high:016x}{low:016x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
