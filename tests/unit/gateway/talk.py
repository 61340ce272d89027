"""A language for tests of `Connection`: what goes in, and what comes out in short."""

import json
from typing import Any

from ocppcore.envelope import Frame, OutFrame, Receipt
from services.gateway.domain.connection import Append, Close, Connection, Effect, Limits, Origin, Send

ORIGIN = Origin("cs1", "CS1", 3, 77, "ocpp2.0.1", 8)
T0 = 1_700_000_000_000


def call(message_id: str, action: str = "Heartbeat", payload: object = None) -> bytes:
    return json.dumps([2, message_id, action, payload or {}]).encode()


def result(message_id: str, payload: object = None) -> bytes:
    return json.dumps([3, message_id, payload or {}]).encode()


def error(message_id: str, code: str = "InternalError") -> bytes:
    return json.dumps([4, message_id, code, "", {}]).encode()


def reply(message_id: str, action: str = "Heartbeat", **more: Any) -> OutFrame:
    return OutFrame("cs1", 3, 77, "reply", message_id, action, result(message_id), **more)


def command(id_: str, action: str = "GetVariables", payload: object = None, **more: Any) -> OutFrame:
    return OutFrame("cs1", 3, 77, "command", id_, action, call(id_, action, payload), **more)


class Talk:
    """A connection and its clock. Each step returns its effects in short; acknowledgements are kept until `acks`."""

    def __init__(self, registration: str = "Accepted", **limits: int) -> None:
        self.now = T0
        self.connection = Connection(ORIGIN, registration, Limits(**limits), T0, lambda out: b"opened", lambda: "")
        self.pending: list[Any] = []
        self.entries: list[Frame | Receipt] = []

    def says(self, frame: bytes) -> list[tuple[str, ...]]:
        """The station sends a frame."""
        return self._short(self.connection.receive(frame, self.now))

    def told(self, out: OutFrame) -> list[tuple[str, ...]]:
        """A service sends a frame."""
        return self._short(self.connection.outbound(out, self.now))

    def acks(self) -> list[tuple[str, ...]]:
        """The log acknowledges the oldest record that waits for it."""
        return self._short(self.connection.acknowledged(self.pending.pop(0), self.now))

    def passes(self, ms: int) -> list[tuple[str, ...]]:
        """Time passes, then the connection is woken."""
        self.now += ms
        return self._short(self.connection.tick(self.now))

    def ends(self) -> list[tuple[str, ...]]:
        return self._short(self.connection.ended(self.now))

    def drains(self) -> list[tuple[str, ...]]:
        return self._short(self.connection.drain(self.now))

    def boots(self, registration: str) -> None:
        """BootNotification answered with this registration."""
        assert self.says(call("boot", "BootNotification")) == [("device", "call", "boot", "BootNotification", "")]
        assert self.told(reply("boot", "BootNotification", registration=registration)) == [("send", 3, "boot")]

    def answered(self, out: OutFrame, response: object) -> None:
        """A command goes all its way and is answered."""
        self.told(out)
        assert self.acks()[0][0] == "send"
        self.says(result(out.message_id, response))

    def _short(self, effects: list[Effect]) -> list[tuple[Any, ...]]:
        return [self._one(effect) for effect in effects]

    def _one(self, effect: Effect) -> tuple[Any, ...]:
        match effect:
            case Send(frame):
                if not frame.startswith(b"["):
                    return ("send", frame)
                message = json.loads(frame)
                return ("send", message[0], message[1], *(message[2:3] if message[0] in (2, 4) else ()))
            case Close(code, _):
                return ("close", code)
            case Append(service, entry, ack):
                self.entries.append(entry)
                if ack is not None:
                    self.pending.append(ack)
                if isinstance(entry, Frame):
                    return (service, entry.kind, entry.message_id, entry.action, entry.refused)
                return (service, "receipt", entry.command_id, entry.what)
