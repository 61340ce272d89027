"""How long the CSMS waits for what a station may still say of its transactions. What is decided by it is in events."""

from typing import Final, NamedTuple


class Periods(NamedTuple):
    """In ms. `grace`: for an end that may be on its way when a boot, an Available connector or another transaction
    shows that it should have come. `patience`: for a station that is away, until what it would have said is concluded
    without it. `bill_wait`: since the last news of a transaction that is not whole, until it is billed as it is
    known."""

    grace: int = 60_000
    patience: int = 72 * 3600_000
    bill_wait: int = 72 * 3600_000


PERIODS: Final = Periods()
