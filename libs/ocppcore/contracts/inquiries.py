"""What the transactions service asks stations after (E14), what others tell it as evidence, and what it concludes.

Times in ms. `transaction_id` "" is about all that waits in the station's queue, not about one transaction.
"""

from typing import ClassVar, Literal

import msgspec

from ocppcore.service import Event

Reason = Literal["gap", "offline", "reconnect", "boot", "available", "replaced"]
"""Why a station is asked: events are missing after the end; after an offline event; it came back with open
transactions; it booted since; its EVSE is Available; another transaction has started there."""

Grade = Literal["open", "complete", "gaps", "estimated", "disputed"]
"""How much is known of a transaction: `complete` is Started to Ended without a gap; `gaps` has ended with events
missing; `estimated` never said its end, the CSMS concluded it; `disputed`: one seqNo came with different contents."""


class StationEvidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Request from the device service: the station has booted, or a connector of an EVSE has become Available."""

    NAME: ClassVar[str] = "transactions.StationEvidence.v1"
    what: Literal["boot", "available"]
    at: int
    evse_id: int = 0


class InquiryEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """About one inquiry of a station; there is at most one for each transaction, and one for the whole queue."""

    station: str
    transaction_id: str = ""

    def subject(self) -> str:
        return self.station


class InquiryOpened(InquiryEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The station is to be asked from `due` on; what is not answered by `deadline` is concluded without its word.

    `epoch`: of the connection it came back with (`reconnect`).
    """

    TYPE: ClassVar[str] = "transactions.InquiryOpened.v1"
    reason: Reason
    due: int
    deadline: int
    epoch: int = -1


class InquiryMoved(InquiryEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Asked (`command_id`), to be asked again at `due`, or done. `outcome`: what the station said, or did not."""

    TYPE: ClassVar[str] = "transactions.InquiryMoved.v1"
    state: Literal["asked", "waiting", "done"]
    due: int = 0
    attempts: int = 0
    command_id: str = ""
    outcome: str = ""


class InquiriesResumed(InquiryEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The station is back: everything that waits to be asked is due."""

    TYPE: ClassVar[str] = "transactions.InquiriesResumed.v1"


class TransactionReconciled(InquiryEvent, frozen=True, kw_only=True, omit_defaults=True):
    """What was concluded. `closed`: an end was never said, the last that was heard counts as it, until the truth
    comes; `gaps_final`: `missing` events will not come. `said`: the station's word, or that it gave none in time."""

    TYPE: ClassVar[str] = "transactions.TransactionReconciled.v1"
    what: Literal["closed", "gaps_final"]
    cause: Reason
    said: Literal["not_ongoing", "no_messages", "unanswered"]
    missing: int = 0


class TransactionGraded(InquiryEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An ended transaction as far as it is known now: raised at its end, and whenever any of this changes.

    `started_at`, `ended_at` are corrected by `clock_offset_ms` where the station's clock was wrong; `energy_wh` is
    decimal text, `token` the pseudonym of the idToken whose transaction it is. `bill_wait_ms`: how long one that is not
    whole waits for more until it is billed. `billed`: the same step makes its charge detail record.
    """

    TYPE: ClassVar[str] = "transactions.TransactionGraded.v1"
    grade: Grade
    identity: str = ""
    started_at: int | None = None
    ended_at: int | None = None
    energy_wh: str | None = None
    evse_id: int | None = None
    connector_id: int | None = None
    token: str = ""
    token_type: str = ""
    stopped_reason: str = ""
    missing: int = 0
    conflicts: int = 0
    clock_offset_ms: int = 0
    bill_wait_ms: int = 72 * 3600_000
    billed: bool = False
