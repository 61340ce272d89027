"""Results that a station sends later for a command that it accepted, matched to it by requestId (GEN.FR.05).

A command is awaited from its Accepted answer on. What comes with its requestId counts for it and is shown in its
resource; what comes with another is kept all the same, marked unsolicited: a station may go on with what it was asked
before this CSMS knew it. What has no requestId (an Idle status that a TriggerMessage asked for) is about no command.

Nothing ends by time: an upload or an update may take days. A few of each station are remembered, also once they are
complete, because a station that heard no answer sends its last message again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Final, NamedTuple, Protocol

import msgspec

from ocppcore import actions
from ocppcore.service import Aggregate, Context, Need, Put, View
from ocppcore.store import Table, Upsert

RESULTS: Final[Mapping[str, str]] = {
    "GetBaseReport": "NotifyReport",
    "GetReport": "NotifyReport",
    "GetMonitoringReport": "NotifyMonitoringReport",
    "CustomerInformation": "NotifyCustomerInformation",
    "GetLog": "LogStatusNotification",
    "UpdateFirmware": "FirmwareStatusNotification",
    "PublishFirmware": "PublishFirmwareStatusNotification",
    "GetDisplayMessages": "NotifyDisplayMessages",
    "GetChargingProfiles": "ReportChargingProfiles",
}
"""What a station sends for each command that has a requestId."""

LAST: Final[Mapping[str, frozenset[str]]] = {
    "LogStatusNotification": frozenset(
        {"AcceptedCanceled", "BadMessage", "NotSupportedOperation", "PermissionDenied", "Uploaded", "UploadFailure"}
    ),
    "FirmwareStatusNotification": frozenset(
        {"DownloadFailed", "InstallationFailed", "Installed", "InstallVerificationFailed", "InvalidSignature"}
    ),
    "PublishFirmwareStatusNotification": frozenset({"DownloadFailed", "InvalidChecksum", "Published", "PublishFailed"}),
}
"""The statuses after which nothing follows; a report says by itself whether more is to be continued."""

ACCEPTED: Final = ("Accepted", "AcceptedCanceled")
AWAITED_MAX: Final = 30
"""Commands of a station that are remembered; the oldest goes, one that is complete first."""

TABLE: Final = Table(
    "command_results",
    {
        "command_id": "text",
        "station": "text",
        "action": "text",
        "request_id": "bigint",
        "messages": "bigint",
        "status": "text",
        "complete": "boolean",
        "changed_at": "bigint",
    },
    ("command_id",),
    indexes=(("station",),),
)
"""Of every accepted command that has results: how many messages came (a repeat is not counted), the last one's status
where it has one, and whether it was the last. Times in ms."""


class ResultEvent(Protocol):
    """An event that keeps one result as the station sent it. `command_id` "": of no command that was accepted."""

    @property
    def at(self) -> int: ...

    @property
    def command_id(self) -> str: ...

    @property
    def payload(self) -> msgspec.Raw: ...

    def subject(self) -> str: ...


class AwaitedResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`action`: of the result. `seq_no`: the highest so far."""

    command_id: str
    action: str
    request_id: int
    messages: int = 0
    seq_no: int = -1
    status: str = ""
    complete: bool = False


class AwaitedResults(Aggregate, frozen=True, kw_only=True):
    """Of a station's accepted commands, oldest first; id = station."""

    KIND: ClassVar[str] = "AwaitedResults"
    awaited: tuple[AwaitedResult, ...] = ()

    def find(self, action: str, request_id: int) -> AwaitedResult | None:
        """The newest with this requestId: a requester may have used it before."""
        found = (one for one in reversed(self.awaited) if (one.action, one.request_id) == (action, request_id))
        return next(found, None)

    def of(self, command_id: str) -> AwaitedResult | None:
        return next((one for one in self.awaited if one.command_id == command_id), None)


class Origin(NamedTuple):
    """Of which command a result is: `unsolicited`, of none; neither, where it names no request."""

    command_id: str = ""
    unsolicited: bool = False


class _Asked(msgspec.Struct, rename="camel"):
    """`1.0` and `1e0` are integers too."""

    request_id: int | float | None = None


class _Answer(msgspec.Struct):
    status: str = ""


class _Said(msgspec.Struct, rename="camel"):
    seq_no: int | float | None = None
    tbc: bool = False
    status: str = ""


def sends(service: str) -> bool:
    """Whether a service sends commands that have results."""
    return any(actions.ACTIONS[name].owner == service for name in RESULTS)


def needs(_: object, station: str) -> Sequence[Need]:
    """What deciding about a result looks at."""
    return ((AwaitedResults, station),)


def event_needs(event: ResultEvent) -> Sequence[Need]:
    return ((AwaitedResults, event.subject()),) if event.command_id else ()


def origin(action: str, request_id: int | None, view: View, context: Context) -> Origin:
    """Whose a station's result is. `request_id` None: it names none."""
    if request_id is None:
        return Origin()
    found = _of(view, context.station).find(action, request_id)
    return Origin(found.command_id) if found else Origin(unsolicited=True)


def _of(view: View, station: str) -> AwaitedResults:
    return view.get(AwaitedResults, station) or AwaitedResults()


# What follows from events


def accepted(action: str, command_id: str, payload: bytes, response: bytes) -> AwaitedResult | None:
    """What is awaited once a command was answered; None if nothing is."""
    result = RESULTS.get(action)
    if result is None or response == b"null":
        return None
    if msgspec.json.decode(response, type=_Answer).status not in ACCEPTED:
        return None
    number = msgspec.json.decode(payload, type=_Asked).request_id
    return None if number is None else AwaitedResult(command_id=command_id, action=result, request_id=int(number))


def remember(view: View, station: str, one: AwaitedResult) -> Iterable[Put]:
    kept = [*_of(view, station).awaited, one]
    if len(kept) > AWAITED_MAX:
        kept.remove(next((old for old in kept if old.complete), kept[0]))
    yield Put(station, AwaitedResults(awaited=tuple(kept)))


def evolve(event: ResultEvent, view: View) -> Iterable[Put]:
    """One more message of a command's results; one that was sent twice counts once."""
    if not event.command_id:
        return
    results = _of(view, event.subject())
    one = results.of(event.command_id)
    if one is None:
        return
    moved = _moved(one, msgspec.json.decode(event.payload, type=_Said))
    changed = tuple(moved if other is one else other for other in results.awaited)
    yield Put(event.subject(), AwaitedResults(awaited=changed))


def _moved(one: AwaitedResult, said: _Said) -> AwaitedResult:
    if said.status:
        if said.status == one.status:
            return one
        complete = said.status in LAST[one.action]
        return msgspec.structs.replace(one, messages=one.messages + 1, status=said.status, complete=complete)
    if said.seq_no is not None and said.seq_no <= one.seq_no:
        return one
    number = one.seq_no if said.seq_no is None else int(said.seq_no)
    return msgspec.structs.replace(one, messages=one.messages + 1, seq_no=number, complete=not said.tbc)


def project(event: ResultEvent, view: View) -> Iterable[Upsert]:
    one = _of(view, event.subject()).of(event.command_id) if event.command_id else None
    if one is not None:
        yield row(event.subject(), one, event.at)


def row(station: str, one: AwaitedResult, at: int) -> Upsert:
    values = (one.command_id, station, one.action, one.request_id, one.messages, one.status, one.complete, at)
    return Upsert(TABLE, values)
