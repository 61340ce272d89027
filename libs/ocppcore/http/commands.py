"""Any command of a service: `POST /stations/{id}/commands/{Action}`, the payload verbatim, and what became of it.

Only the schema is checked; nothing is added, renumbered, split or refused for a rule. 200 once the command has ended,
whatever the station said; 202 before, with the command's own Location.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import TypeAdapter, ValidationError

from ocppcore import actions, results
from ocppcore.clock import to_rfc3339
from ocppcore.command_payload import show
from ocppcore.command_warnings import UNFOLLOWED, WARNINGS_MAX, warnings
from ocppcore.commands import ASK, TABLE, VARIABLES, Ask
from ocppcore.contracts.device import EvseSpec, Limit
from ocppcore.http import problems
from ocppcore.http.auth import Caller, require
from ocppcore.http.problems import FieldError, Problem
from ocppcore.http.progress import Progress, begin
from ocppcore.http.requests import RESPONSES, Write, writing
from ocppcore.pseudonym import Pseudonyms
from ocppcore.seal import Seal
from ocppcore.store import Store, Value
from ocppcore.topics import normalise
from ocppcore.wire import decode

QUEUE_S_MAX: Final = 7 * 24 * 3600
TIMEOUT_S_MAX: Final = 300
LOOK_FIRST_S: Final = 0.01
LOOK_MAX_S: Final = 0.25
OPEN: Final = ("waiting", "queued", "sending")
HEARD: Final[Mapping[str, Mapping[str, str]]] = {
    "GetVariables": {"reply_service": "device", "reference": VARIABLES},
}
"""Actions whose answers tell something that services go by: who is told of them, whoever asked (I01.FR.02)."""


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry says of a station: `id` as it was spelled there, how much one message may be, its EVSEs."""

    id: str
    limits: dict[str, Limit] = {}
    evses: tuple[EvseSpec, ...] = ()

    @property
    def key(self) -> str:
        """The normalised id."""
        return normalise(self.id)


FindStation = Callable[[str], Awaitable[Registered | None]]
"""The registered station of this (normalised) id."""
Doubts = Callable[[bytes], Awaitable[Sequence[str]]]
"""What is doubtful about a payload that fits its schema, where finding out takes more than the payload; bounded."""


@dataclass(frozen=True)
class CommandDesk:
    """What asking for a command needs. `doubts`: by action."""

    service: str
    store: Store
    find_station: FindStation
    pseudonyms: Pseudonyms
    seal: Seal
    doubts: Mapping[str, Doubts] = field(default_factory=dict)

    def ask(self, station: Registered, action: str, payload: bytes, **more: Any) -> Ask:
        """The request body of a new command; raises Problem 422 naming the field that breaks the schema."""
        check(action, payload)
        command_id = str(uuid.uuid4())
        shown = show(command_id, action, payload, self.pseudonyms, self.seal)
        return Ask(
            command_id=command_id,
            action=action,
            payload=msgspec.Raw(shown.payload),
            sealed=shown.sealed,
            identity=station.id,
            warnings=warnings(action, payload, station.limits),
            **more,
        )

    async def examined(self, ask: Ask, payload: bytes) -> Ask:
        """The same with the warnings that take time to find."""
        if ask.action not in self.doubts:
            return ask
        found = (*ask.warnings, *await self.doubts[ask.action](payload))
        return msgspec.structs.replace(ask, warnings=found[:WARNINGS_MAX])

    async def later(self, command_id: str) -> Mapping[str, Value] | None:
        """What the station sent later for an accepted command (GEN.FR.05); None where it does not."""
        if not results.sends(self.service):
            return None
        rows = await self.store.select(results.TABLE, {"command_id": command_id}, limit=1)
        return rows[0] if rows else None

    async def shown(self, row: Mapping[str, Value]) -> bytes:
        """A command's resource, with what came of it later."""
        later = await self.later(str(row["command_id"])) if row["action"] in results.RESULTS else None
        return resource(row, later)

    async def station(self, station_id: str) -> Registered:
        """A registered station; raises Problem 404."""
        station = await self.find_station(normalise(station_id))
        if station is None:
            raise Problem(404, "No such station is registered.")
        return station

    async def ended(self, command_id: str, wait_s: float) -> Mapping[str, Value] | None:
        """The command's row once it has ended, or as it is after `wait_s`; None if there is no such command."""
        return await Progress(
            self.store, TABLE, OPEN, id="command_id", state="status", first_s=LOOK_FIRST_S, most_s=LOOK_MAX_S
        ).row(command_id, wait_s)


def check(action: str, payload: bytes) -> None:
    """Raise Problem 422 for a payload that is not of the action's schema."""
    try:
        decode(actions.request_type(action), payload)
    except ValidationError as error:
        faults = [
            FieldError(".".join(map(str, ("body", *one["loc"]))), one["msg"])
            for one in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        raise Problem(422, f"{faults[0].field}: {faults[0].detail}", title="Invalid payload", errors=faults) from None


def resource(row: Mapping[str, Value], later: Mapping[str, Value] | None = None) -> bytes:
    """A command as the API shows it, its payload, response and error as they are stored: JSON that need not be parsed
    again, and that not every parser would take (`1e999` in customData). `later`: its row of `results.TABLE`."""
    shown: dict[str, Any] = {
        "commandId": row["command_id"],
        "stationId": row["identity"],
        "action": row["action"],
        "status": row["status"],
        "askedAt": _time(row["asked_at"]),
        "endedAt": _time(row["ended_at"]),
        "payload": msgspec.Raw(str(row["payload"])),
        "warnings": msgspec.Raw(str(row["warnings"])),
    }
    for name in ("response", "error"):
        if row[name] is not None:
            shown[name] = msgspec.Raw(str(row[name]))
    if later is not None:
        shown["results"] = {
            "action": later["action"],
            "requestId": later["request_id"],
            "messages": later["messages"],
            "status": later["status"] or None,
            "complete": later["complete"],
            "changedAt": _time(later["changed_at"]),
        }
    return msgspec.json.encode(shown)


def _time(ms: Value) -> str | None:
    return None if ms is None else to_rfc3339(int(ms))


def router(desk: CommandDesk) -> APIRouter:
    """One typed route per action that the service sends, and the commands themselves."""
    made = APIRouter(tags=["commands"])
    for action in actions.owned_by(desk.service):
        if action.name in actions.TO_STATION:
            _add(made, desk, action.name)
    _add_reading(made, desk)
    return made


def _add(made: APIRouter, desk: CommandDesk, action: str) -> None:
    async def send(
        request: Request,
        stationId: Annotated[str, Path(max_length=48)],
        write: Annotated[Write, writing("operator")],
        queueFor: Annotated[
            int, Query(ge=0, le=QUEUE_S_MAX, description="Seconds to wait for a station that is away")
        ] = 0,
        answerWithin: Annotated[
            int, Query(ge=0, le=TIMEOUT_S_MAX, description="Seconds for its answer; 0: default")
        ] = 0,
        repeat: Annotated[bool, Query(description="Send again if the connection breaks before the answer")] = False,
    ) -> Response:
        station = await desk.station(stationId)
        body = await request.body()
        ask = desk.ask(
            station,
            action,
            body or b"{}",
            queue_for_ms=queueFor * 1000,
            timeout_ms=answerWithin * 1000,
            repeat=repeat,
            **HEARD.get(action, {}),
        )
        ask = unfollowed(await desk.examined(ask, body or b"{}"))
        begun = await begin(write, ASK, station.key, ask)
        if isinstance(begun, Response):
            return begun
        command_id = begun.body["commandId"]
        row = await desk.ended(command_id, begun.left_s())
        location = f"/{desk.service}/commands/{command_id}"
        if row is None or row["status"] in OPEN:
            queued = {"commandId": command_id, "status": "queued", "warnings": ask.warnings}
            shown = await desk.shown(row) if row else msgspec.json.encode(queued)
            return Response(shown, 202, {"Location": location}, "application/json")
        return Response(await desk.shown(row), 200, {"Content-Location": location}, "application/json")

    model = actions.request_type(action)
    made.add_api_route(
        f"/stations/{{stationId}}/commands/{action}",
        send,
        methods=["POST"],
        name=f"send_{action}",
        summary=f"Send {action}",
        responses={200: {"description": "The command has ended"}, **RESPONSES, **problems.documented(404)},
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": inline(model)}}}},
    )


def unfollowed(ask: Ask) -> Ask:
    """Sent all the same, with a word on the operation that does more than send it."""
    if ask.action not in UNFOLLOWED:
        return ask
    return msgspec.structs.replace(ask, warnings=(UNFOLLOWED[ask.action], *ask.warnings)[:WARNINGS_MAX])


def inline(model: Any) -> dict[str, Any]:
    """The JSON Schema of a message, its definitions put in place: OCPP's types do not refer to themselves."""
    schema = TypeAdapter(model).json_schema()
    definitions = schema.pop("$defs", {})

    def put(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return put(definitions[value["$ref"].rpartition("/")[2]])
            return {name: put(item) for name, item in value.items()}
        return [put(item) for item in value] if isinstance(value, list) else value

    found: dict[str, Any] = put(schema)
    return found


def _add_reading(made: APIRouter, desk: CommandDesk) -> None:
    @made.get("/commands/{commandId}", summary="What became of a command", responses=problems.documented(401, 404))
    async def read(
        commandId: Annotated[str, Path(max_length=36)], caller: Annotated[Caller, require("viewer", within=True)]
    ) -> Response:
        row = await desk.ended(commandId, 0)
        if row is None or not caller.reaches(str(row["station"])):
            raise Problem(404, "No such command.")
        return Response(await desk.shown(row), media_type="application/json")
