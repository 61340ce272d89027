"""Which gateway holds which slot: a pure fold of `ocpp.gateways`, the same in gateways and services.

The first claim in log order wins while it lives; time is the log's own (`appended_at`), so that every reader comes to
the same answer. A lease ends at its `until`, at a release, or when the slot is claimed after that.
"""

from dataclasses import dataclass

from ocppcore.envelope import GatewayLease, parse_json
from ocppcore.log import Record


@dataclass(frozen=True, slots=True)
class Holder:
    """The gateway in a slot; `claim` is the position of its claim record."""

    slot: int
    gateway: str
    claim: int
    until: int


class Leases:
    """Feed every record of the topic in order to `apply`."""

    def __init__(self) -> None:
        self._holders: dict[int, Holder] = {}
        self._before: dict[int, Holder] = {}

    def apply(self, record: Record) -> None:
        """Fold one record. A claim on a slot that is held changes nothing."""
        lease = parse_json(record, GatewayLease)
        held = self._holders.get(lease.slot)
        if lease.claim == 0:
            if held is None or held.until <= record.appended_at or held.gateway == lease.gateway:
                if held is not None:
                    self._before[lease.slot] = held
                self._holders[lease.slot] = Holder(lease.slot, lease.gateway, record.position, lease.until)
        elif held is None and not lease.released:
            # The claim itself was compacted away: its renewal is all that is left of it.
            self._holders[lease.slot] = Holder(lease.slot, lease.gateway, lease.claim, lease.until)
        elif held is not None and held.claim == lease.claim and held.until > record.appended_at:
            until = record.appended_at if lease.released else lease.until
            self._holders[lease.slot] = Holder(lease.slot, held.gateway, held.claim, until)

    def holder(self, slot: int, now: int) -> Holder | None:
        """Who holds the slot now, or None."""
        held = self._holders.get(slot)
        return held if held and held.until > now else None

    def live(self, slot: int, claim: int, now: int) -> bool:
        """Whether this claim still holds its slot."""
        held = self.holder(slot, now)
        return held is not None and held.claim == claim

    def over(self, slot: int, claim: int, at: int) -> bool:
        """Whether this claim had ended by then. One that is not known any more ended long ago."""
        for held in (self._holders.get(slot), self._before.get(slot)):
            if held is not None and held.claim == claim:
                return held.until <= at
        return True

    def standing(self, at: int) -> frozenset[tuple[int, int]]:
        """(slot, claim) of those that had not ended by then: it changes whenever `over` changes for one of them."""
        held = (*self._holders.values(), *self._before.values())
        return frozenset((one.slot, one.claim) for one in held if one.until > at)

    def taken(self, now: int) -> frozenset[int]:
        """Slots that are held now."""
        return frozenset(slot for slot, held in self._holders.items() if held.until > now)
