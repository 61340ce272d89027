"""What the gateway tells over HTTP: who is connected here, and the frames of a station. It changes nothing."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from ocppcore.clock import Clock, from_rfc3339, to_rfc3339
from ocppcore.http import problems
from ocppcore.http.auth import require
from ocppcore.http.problems import Problem
from ocppcore.log import PositionLost
from ocppcore.topics import normalise
from services.gateway import frames
from services.gateway.gateway import Gateway

RECENT_MS = 600_000

router = APIRouter()


class Connections(BaseModel):
    """Of this gateway, since its process began."""

    gateway: str
    slot: int | None = Field(None, description="Its partition of `ocpp.outbound`; null while it holds none")
    ready: bool
    connected: int
    heldBack: int = Field(description="Connections not read because the log is behind")
    framesReceived: int
    framesSent: int
    handshakes: dict[str, int] = Field(description="By HTTP status", examples=[{"101": 12, "401": 1}])
    closed: dict[str, int] = Field(description="By WebSocket close code", examples=[{"1006": 2}])


class FrameModel(BaseModel):
    """A frame, or a receipt: what a gateway did with a command. idTokens, passwords and certificates are hidden."""

    at: str = Field(examples=["2026-01-01T12:00:00.000Z"])
    direction: Literal["from", "to", "receipt"] = Field(description="from the station, to the station, or a receipt")
    kind: str = Field(description="call, result, error, malformed; reply, command; sending, timeout, refused, …")
    messageId: str
    action: str
    connection: int = Field(description="Which connection of the station: its epoch")
    refused: str = Field(description="The RPC error code with which the gateway itself answered")
    frame: object = Field(description="The frame's JSON, or its text where it is none")


class FramePage(BaseModel):
    """In order of time. `stationId`: as registered, or as it connected.

    `complete` false: more records wait to be looked at, go on with `cursor` at once.
    """

    stationId: str
    items: list[FrameModel]
    cursor: str = Field(description="Give it back as `since` for what comes next")
    complete: bool


@router.get("/connections", summary="Connections of this gateway", dependencies=[require("viewer")])
async def connections(request: Request) -> Connections:
    gateway: Gateway = request.app.state.gateway
    stats = gateway.stats
    return Connections(
        gateway=gateway.name,
        slot=gateway.hub.holder.slot if gateway.hub.holder else None,
        ready=gateway.not_ready() is None,
        connected=len(gateway.hub.sessions),
        heldBack=len(gateway.hub.held_back),
        framesReceived=stats.frames_in,
        framesSent=stats.frames_out,
        handshakes=dict(stats.handshakes),
        closed=dict(stats.closed),
    )


@router.get(
    "/stations/{stationId}/frames",
    summary="A station's frames in both directions",
    dependencies=[require("viewer")],
    responses=problems.documented(404, 410),
)
async def station_frames(
    request: Request,
    id: Annotated[str, Path(alias="stationId", max_length=48)],
    since: Annotated[
        str | None, Query(max_length=2000, description="A date-time, or the cursor of the page before; 10 minutes ago")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> FramePage:
    """A bounded look at the log from `since` on, while frames are retained (14 days)."""
    found: frames.Frames = request.app.state.frames
    clock: Clock = request.app.state.clock
    gateway: Gateway = request.app.state.gateway
    station = normalise(id)
    try:
        if since is None:
            positions = await found.since(station, clock() - RECENT_MS)
        elif ":" in since:
            positions = await found.since(station, from_rfc3339(since))
        else:
            positions = frames.decode_cursor(since, found.partitions(station))
        page = await found.read(station, positions, limit)
    except (ValueError, OverflowError):
        raise Problem(422, "since is neither a date-time with a zone nor a cursor of this list.") from None
    except PositionLost:
        raise Problem(410, "The frames at this cursor are not retained any more.") from None
    if not page.items and page.complete and not await gateway.knows(id):
        raise Problem(404, f"No station {id!r} is registered.")
    return FramePage(
        stationId=_spelled(gateway, station, page),
        items=[
            FrameModel(
                at=to_rfc3339(item.at),
                direction=item.direction,  # type: ignore[arg-type]
                kind=item.kind,
                messageId=item.message_id,
                action=item.action,
                connection=item.epoch,
                refused=item.refused,
                frame=item.frame,
            )
            for item in page.items
        ],
        cursor=frames.encode_cursor(page.positions),
        complete=page.complete,
    )


def _spelled(gateway: Gateway, station: str, page: frames.Page) -> str:
    registered = gateway.stations.find(station)
    if registered is not None:
        return registered.identity
    return next((item.identity for item in page.items if item.identity), station)
