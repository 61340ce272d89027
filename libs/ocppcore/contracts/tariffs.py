"""What the transactions service is asked about tariffs (block I) and what it says of them; see `ocppcore.tariff`."""

from typing import ClassVar

import msgspec

from ocppcore.service import Event
from ocppcore.tariff import Assignments, Tariff, TariffState
from ocppcore.topics import normalise


class PutTariff(msgspec.Struct, frozen=True, kw_only=True):
    """A tariff, or another version of one. The record's key is the normalised id; `tariff.version` is not heeded."""

    NAME: ClassVar[str] = "transactions.PutTariff.v1"
    tariff: Tariff


class AssignTariff(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a tariff is for, in place of what was said before. Key: the normalised id."""

    NAME: ClassVar[str] = "transactions.AssignTariff.v1"
    assignments: Assignments


class RemoveTariff(msgspec.Struct, frozen=True, kw_only=True):
    """Key: the normalised id. Transactions that began with it keep it."""

    NAME: ClassVar[str] = "transactions.RemoveTariff.v1"


class TariffEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    tariff: str
    """The id as it was spelled first."""

    def subject(self) -> str:
        return normalise(self.tariff)


class TariffVersionPut(TariffEvent, frozen=True, kw_only=True, omit_defaults=True):
    """`version` is the one that was put, `state` the whole state with it."""

    TYPE: ClassVar[str] = "transactions.TariffVersionPut.v1"
    version: Tariff
    state: TariffState
    actor: str = ""


class TariffAssigned(TariffEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "transactions.TariffAssigned.v1"
    state: TariffState
    actor: str = ""


class TariffRemoved(TariffEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "transactions.TariffRemoved.v1"
    actor: str = ""
