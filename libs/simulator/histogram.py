"""A histogram of durations with a relative error of at most 1.6 % and a fixed size, cheap to add to."""

SUB_BITS = 5
_SUB = 1 << SUB_BITS
_SIZE = (64 - SUB_BITS) * _SUB


class Histogram:
    """Counts of non-negative integers (any unit)."""

    __slots__ = ("_counts", "count", "largest", "total")

    def __init__(self) -> None:
        self._counts = [0] * _SIZE
        self.count = 0
        self.total = 0
        self.largest = 0

    def add(self, value: int) -> None:
        shift = value.bit_length() - SUB_BITS - 1
        if shift > 0:
            self._counts[(shift << SUB_BITS) + (value >> shift)] += 1
        else:
            self._counts[value] += 1
        self.count += 1
        self.total += value
        if value > self.largest:
            self.largest = value

    def percentile(self, percent: float) -> float:
        """The value that `percent` of all are at most; 0 if there are none."""
        wanted = self.count * percent / 100
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen >= wanted and count:
                shift = max(0, (index >> SUB_BITS) - 1)
                low = (index - (shift << SUB_BITS)) << shift
                return min(low + ((1 << shift) - 1) / 2, self.largest)
        return 0.0

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0
