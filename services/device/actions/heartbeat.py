"""Heartbeat (G02): the time, and that the station is there (`domain/contact.py`); no event."""

from datetime import UTC, datetime

from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import HeartbeatRequest, HeartbeatResponse


def on_heartbeat(_: HeartbeatRequest, view: View, context: Context) -> Outcome:
    return Outcome(reply=HeartbeatResponse(currentTime=datetime.fromtimestamp(context.now / 1000, UTC)))


ROUTE = ActionHandler(HeartbeatRequest, on_heartbeat)
