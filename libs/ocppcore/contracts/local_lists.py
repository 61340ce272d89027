"""Local Authorization Lists (D01, D02): the rules, and what happens between a station's list and us.

No event carries an idToken: entries are named by pseudonyms. `digest` tells whether an entry on a station is the one
that the rules give now.
"""

from typing import ClassVar, Literal

import msgspec

from ocppcore.commands import Ask
from ocppcore.contracts.auth import AuthStationEvent
from ocppcore.service import Event


class Stations(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which stations a rule is for: any of these. `sites`, `groups`, `ids` are normalised."""

    all: bool = False
    sites: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()


class Tokens(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which tokens a rule selects: any of these. `groups`: groupIdTokens; `ids`: pseudonyms."""

    all: bool = False
    groups: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()


class ListRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`refused`: tokens that may not charge at the station are listed too, with their status."""

    id: str
    applies_to: Stations
    selects: Tokens
    refused: bool = False


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An element of a SendLocalListRequest: `token` is a pseudonym; without `digest` the token is taken off."""

    token: str
    digest: str = ""


Cause = Literal["asked", "change", "boot", "time", "off"]
"""Why a station's list is looked at: somebody asked, tokens or rules changed, it booted, a token's time came or went;
off: nothing may be sent unasked any more."""

PauseState = Literal["waiting", "failed", "unsupported", "off"]
"""waiting: for the station or for the next try. failed: given up for some hours, or until something changes.
unsupported: the station knows no such message. off: not wanted any more."""

SyncState = Literal["asked", "synced", "failed", "unsupported", "off", "no_effect"]


# Requests


class PutListRule(msgspec.Struct, frozen=True, kw_only=True):
    """Key = the rule's id."""

    NAME: ClassVar[str] = "auth.PutListRule.v1"
    rule: ListRule


class RemoveListRule(msgspec.Struct, frozen=True, kw_only=True):
    """Key = the rule's id."""

    NAME: ClassVar[str] = "auth.RemoveListRule.v1"


class SyncLocalList(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody asks for a station's list to be brought up to date. `full`: whatever is known of it is not trusted."""

    NAME: ClassVar[str] = "auth.SyncLocalList.v1"
    operation_id: str
    identity: str
    wait_ms: int
    full: bool = False


class FollowLocalList(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the rules give a station has changed (`fingerprint`), or whether it may be sent unasked has."""

    NAME: ClassVar[str] = "auth.FollowLocalList.v1"
    identity: str
    automatic: bool
    fingerprint: str = ""


class StationBoot(msgspec.Struct, frozen=True, kw_only=True):
    """From device: a station with automatic.localList was accepted at its boot. Key = the station."""

    NAME: ClassVar[str] = "auth.StationBoot.v1"


class LocalListStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The next message of a pass, as the worker built it from tokens and rules; `ask` None: there is nothing to send.

    `cursor`, `done`: how far through the list (in the order of pseudonyms) it comes; `taken`: entries of the list up
    to there. `full_needed`: an entry must go whose token is erased, only a full list takes it off. `next_change`: when
    time alone changes the list, 0: never. `refusal`: why nothing is sent at all.
    """

    NAME: ClassVar[str] = "auth.LocalListStep.v1"
    step: int
    ask: Ask | None = None
    entries: tuple[Entry, ...] = ()
    cursor: str = ""
    done: bool = False
    taken: int = 0
    full_needed: bool = False
    next_change: int = 0
    fingerprint: str = ""
    refusal: str = ""


# Events


class ListRuleEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    def subject(self) -> str:
        raise NotImplementedError


class ListRuleSet(ListRuleEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "auth.ListRuleSet.v1"
    rule: ListRule
    actor: str = ""

    def subject(self) -> str:
        return self.rule.id


class ListRuleRemoved(ListRuleEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "auth.ListRuleRemoved.v1"
    id: str
    actor: str = ""

    def subject(self) -> str:
        return self.id


class LocalListTriggered(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """`automatic`: whether the list may be sent unasked, from here on; None: as before. `due`: of the operation."""

    TYPE: ClassVar[str] = "auth.LocalListTriggered.v1"
    cause: Cause
    automatic: bool | None = None
    full: bool = False
    operation_id: str = ""
    due: int = 0
    actor: str = ""


class LocalListChecking(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The station is asked for its version (D02)."""

    TYPE: ClassVar[str] = "auth.LocalListChecking.v1"
    command_id: str


class LocalListChecked(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Its answer; `kept`: that is the list that we know it to have."""

    TYPE: ClassVar[str] = "auth.LocalListChecked.v1"
    version: int
    kept: bool


class LocalListBuilding(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The next message is to be built, of entries behind `cursor`. `shrink`: how often its size is halved.
    `unasked`: only automatic, nobody waits for it."""

    TYPE: ClassVar[str] = "auth.LocalListBuilding.v1"
    step: int
    version: int
    full: bool = False
    generation: int = 0
    cursor: str = ""
    taken: int = 0
    shrink: int = 0
    unasked: bool = False


class LocalListSending(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """SendLocalList, with what follows if the station takes it."""

    TYPE: ClassVar[str] = "auth.LocalListSending.v1"
    command_id: str
    version: int
    full: bool = False
    entries: tuple[Entry, ...] = ()
    cursor: str = ""
    done: bool = False
    taken: int = 0
    next_change: int = 0
    fingerprint: str = ""


class LocalListInstalled(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The station has this version. `generation` counts full lists."""

    TYPE: ClassVar[str] = "auth.LocalListInstalled.v1"
    version: int
    full: bool = False
    generation: int = 0
    entries: tuple[Entry, ...] = ()


class LocalListDoubted(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """What the station has is not known any more: it gets a full list (D01.FR.03). `refused`: it refused a message,
    `unanswered`: which it may have all the same, its version tells."""

    TYPE: ClassVar[str] = "auth.LocalListDoubted.v1"
    reason: str
    refused: bool = False
    unanswered: bool = False


class LocalListSynced(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The station's list is what the rules give. `entries`: how many."""

    TYPE: ClassVar[str] = "auth.LocalListSynced.v1"
    version: int
    entries: int
    fingerprint: str = ""
    next_change: int = 0


class LocalListPaused(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """`retry_at` 0: not before the station connects, or something changes. `refused`: the station refused a message;
    `unanswered`: nobody knows whether it has the last one."""

    TYPE: ClassVar[str] = "auth.LocalListPaused.v1"
    state: PauseState
    reason: str
    retry_at: int = 0
    refused: bool = False
    unanswered: bool = False


class LocalListSyncExpired(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The time of an operation is up; the list goes on."""

    TYPE: ClassVar[str] = "auth.LocalListSyncExpired.v1"
    operation_id: str
