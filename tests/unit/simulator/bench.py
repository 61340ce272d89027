"""A station under a virtual clock, with a CSMS of a few lines at the other end and a judge on every frame."""

from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any

import orjson
from jsonschema import Draft6Validator

from simulator.actions import Actions
from simulator.config import StationConfig
from simulator.frames import rfc3339
from simulator.inputs import Connected, ConnectFailed, Disconnected, Event, IdToken, Received, Wake
from simulator.notes import Note
from simulator.station import Station

START = 1_760_000_000_000
TOKEN = IdToken("04A1B2C3D4E5F6")
Json = dict[str, Any]
Answerer = Callable[[str, Json], Json | str | None]


@cache
def validator(name: str) -> Draft6Validator:
    """The judge of a message, such as BootNotificationRequest, by OCA's own schema."""
    file = resources.files("ocpp") / "v201" / "schemas" / f"{name}.json"
    return Draft6Validator(orjson.loads(file.read_bytes().removeprefix(b"\xef\xbb\xbf")))


def judge(name: str, payload: Json) -> None:
    for error in validator(name).iter_errors(payload):
        raise AssertionError(f"{name}: {error.json_path} {error.message}\n{payload}")


class Csms:
    """Answers as a friendly CSMS would; `override` says otherwise: a payload, an error code, or None for
    silence."""

    def __init__(self) -> None:
        self.override: Answerer = lambda action, payload: {}
        self.boot = "Accepted"
        self.interval = 300
        self.tokens: dict[str, str] = {}
        self.now = START

    def answer(self, action: str, payload: Json) -> Json | str | None:
        special = self.override(action, payload)
        if special != {}:
            return special
        match action:
            case "BootNotification":
                return {"currentTime": rfc3339(self.now), "interval": self.interval, "status": self.boot}
            case "Heartbeat":
                return {"currentTime": rfc3339(self.now)}
            case "Authorize":
                return {"idTokenInfo": self._info(payload)}
            case "TransactionEvent" if "idToken" in payload:
                return {"idTokenInfo": self._info(payload)}
            case "SignCertificate":
                return {"status": "Rejected"}
            case _:
                return {}

    def _info(self, payload: Json) -> Json:
        return {"status": self.tokens.get(payload["idToken"]["idToken"], "Accepted")}


class Bench:
    """Drives one station. `calls` and `events` are what it sent; `at` is the virtual time."""

    def __init__(self, answer_after_ms: int = 5, **config: Any) -> None:
        self.at = START
        self.csms = Csms()
        self.reachable = True
        self.refuse_with: int | None = None
        self.dialled_at: list[int] = []
        self.notes: list[Note] = []
        self.calls: list[tuple[str, Json]] = []
        self.ids: list[str] = []
        self.results: dict[str, Json] = {}
        self.errors: dict[str, str] = {}
        self.connected = False
        self._answer_after_ms = answer_after_ms
        self._asked: dict[str, str] = {}
        self._answers: list[tuple[int, bytes]] = []
        self._wake: int | None = START
        self._number = 0
        self.station = Station(StationConfig(**{"station_id": "CS-1", **config}), START)

    def run(self, seconds: float = 0) -> "Bench":
        """Lets time pass: due answers arrive, due timers run."""
        until = self.at + int(seconds * 1000)
        while True:
            wakes = [self._wake] if self._wake is not None else []
            due = min([at for at, _ in self._answers] + wakes, default=None)
            if due is None or due > until:
                break
            self.at = max(self.at, due)
            if self._answers and self._answers[0][0] <= self.at:
                self.do(Received(self._answers.pop(0)[1]))
            else:
                self.do(Wake())
        self.at = until
        return self

    def do(self, event: Event) -> Actions:
        """One step now, and what the adapter would do with its outcome."""
        self.csms.now = self.at
        actions = self.station.step(self.at, event)
        self._wake = actions.wake_at
        self.notes += actions.notes
        for frame in actions.frames:
            self._sent(frame)
        if actions.disconnect:
            self.connected, self._answers = False, []
        if actions.connect:
            self.dialled_at.append(self.at)
            self.connected = self.reachable
            self.do(Connected() if self.reachable else ConnectFailed(self.refuse_with))
        return actions

    def drop(self) -> None:
        """The connection breaks; answers under way are lost."""
        self.connected, self._answers = False, []
        self.do(Disconnected())

    def ask(self, action: str, payload: Json, *, valid: bool = True) -> Json:
        """The CSMS sends a CALL; returns the CALLRESULT's payload, or {"error": code}."""
        self._number += 1
        message_id = f"csms-{self._number}"
        self._asked[message_id] = action
        if valid and f"{action}Request" in KNOWN:
            judge(f"{action}Request", payload)
        self.do(Received(orjson.dumps([2, message_id, action, payload])))
        return self.results.get(message_id, {"error": self.errors.get(message_id)})

    def sent(self, action: str) -> list[Json]:
        return [payload for name, payload in self.calls if name == action]

    @property
    def events(self) -> list[Json]:
        return self.sent("TransactionEvent")

    def told(self, kind: type) -> list[Any]:
        return [note for note in self.notes if isinstance(note, kind)]

    def _sent(self, frame: bytes) -> None:
        assert self.connected, "a frame without a connection"
        match orjson.loads(frame):
            case [2, message_id, action, payload]:
                assert len(message_id) <= 36
                judge(f"{action}Request", payload)
                self.calls.append((action, payload))
                self.ids.append(message_id)
                answer = self.csms.answer(action, payload)
                if answer is not None:
                    failed = isinstance(answer, str)
                    data = [4, message_id, answer, "", {}] if failed else [3, message_id, answer]
                    self._answers.append((self.at + self._answer_after_ms, orjson.dumps(data)))
            case [3, message_id, payload]:
                judge(f"{self._asked[message_id]}Response", payload)
                self.results[message_id] = payload
            case [4, message_id, code, _, _]:
                self.errors[message_id] = code


KNOWN = {f.name.removesuffix(".json") for f in (resources.files("ocpp") / "v201" / "schemas").iterdir()}


def booted(**config: Any) -> Bench:
    """A station that is registered and idle."""
    return Bench(**config).run(2)
