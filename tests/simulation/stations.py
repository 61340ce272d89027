"""Model stations: they live for their transactions, and remember what they were promised.

A station sends one CALL at a time; without an answer it sends the same message again, under its old or a new message
id; it loses connections, repeats what was answered, delivers late, and does what commands say. Everything random comes
from the seed.
"""

import asyncio
import json
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Protocol

Json = dict[str, Any]
ANSWER_WITHIN_S = 12.0
LOSES = 0.06
"""How many CALLs are followed by the loss of their connection."""
CONTRADICTS = 0.04
"""How many TransactionEvents are followed by another one of the same seqNo with other content."""


class Link(Protocol):
    """A connection: None when it could not be made."""

    def send(self, frame: bytes) -> None: ...

    def cut(self) -> None: ...


class Network(Protocol):
    async def connect(self, station: "ModelStation") -> Link | None: ...


@dataclass
class ModelStation:
    """`acknowledged`: (transactionId, seqNo) -> payload, of TransactionEvents that were answered with a CALLRESULT.
    `twins`: other contents that this station gives to a seqNo once it was used, `contradicted`: those of them that were
    answered. `executed`: how often each command was carried out."""

    identity: str
    chance: random.Random
    network: Network
    token: str
    queue: deque[tuple[str, Json]] = field(default_factory=deque)
    acknowledged: dict[tuple[str, int], Json] = field(default_factory=dict)
    twins: dict[tuple[str, int], list[Json]] = field(default_factory=dict)
    contradicted: dict[tuple[str, int], list[Json]] = field(default_factory=dict)
    tokenless_answers: list[str] = field(default_factory=list)
    executed: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    calm: bool = False
    link: Link | None = None
    sent: int = 0
    incoming: "asyncio.Queue[bytes | None]" = field(default_factory=asyncio.Queue)

    def plan(self) -> None:
        """What this station is going to say: boot, status, and whole transactions, some with events out of order."""
        chance = self.chance
        boot = {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}
        self.queue.append(("BootNotification", boot))
        self.queue.append(("StatusNotification", self._status("Available", 0)))
        for number in range(chance.randint(1, 3)):
            for _ in range(chance.randint(1, 4)):
                self.queue.append(("Authorize", {"idToken": {"idToken": self.token, "type": "ISO14443"}}))
            self.queue.append(("StatusNotification", self._status("Occupied", 2 * number + 1)))
            events = self._transaction(f"T{number}")
            if chance.random() < 0.3:
                chance.shuffle(events)
            if chance.random() < 0.2:
                events.pop(chance.randrange(len(events)))
            self._contradict(events)
            self.queue.extend(("TransactionEvent", event) for event in events)
            self.queue.append(("StatusNotification", self._status("Available", 2 * number + 2)))
            if chance.random() < 0.5:
                self.queue.append(("Heartbeat", {}))

    def _contradict(self, events: list[Json]) -> None:
        """Now and then a seqNo is used again, for something else, after the event that it belongs to."""
        for event in list(events):
            if self.chance.random() < CONTRADICTS:
                key = (event["transactionInfo"]["transactionId"], event["seqNo"])
                twin = {**event, "cableMaxCurrent": len(self.twins.setdefault(key, []))}
                self.twins[key].append(twin)
                events.insert(self.chance.randint(events.index(event) + 1, len(events)), twin)

    def _status(self, status: str, minute: int) -> Json:
        return {
            "timestamp": f"2026-01-01T10:{minute:02}:00Z",
            "connectorStatus": status,
            "evseId": 1,
            "connectorId": 1,
        }

    def _transaction(self, id_: str) -> list[Json]:
        count = self.chance.randint(2, 6)
        first = self.chance.choice([0, 0, 1, 40])
        events = []
        for place in range(count):
            kind = "Started" if place == 0 else "Ended" if place == count - 1 else "Updated"
            at = f"2026-01-01T11:00:{place:02}Z"
            context = {"Started": "Transaction.Begin", "Ended": "Transaction.End"}.get(kind, "Sample.Periodic")
            event: Json = {
                "eventType": kind,
                "timestamp": at,
                "triggerReason": "MeterValuePeriodic",
                "seqNo": first + place,
                "transactionInfo": {"transactionId": id_, "chargingState": "Charging"},
                "evse": {"id": 1, "connectorId": 1},
                "meterValue": [{"timestamp": at, "sampledValue": [{"value": place * 10.5, "context": context}]}],
            }
            if kind != "Updated":
                event["idToken"] = {"idToken": self.token, "type": "ISO14443"}
            events.append(event)
        return events

    @property
    def done(self) -> bool:
        return not self.queue

    async def live(self) -> None:
        """Say everything, then stay for commands."""
        while True:
            await self._connect()
            if self.queue:
                await self._say_next()
            else:
                await self._listen(1.0)

    async def _connect(self) -> None:
        while self.link is None:
            self.incoming = asyncio.Queue()
            self.link = await self.network.connect(self)
            if self.link is None:
                await asyncio.sleep(self.chance.uniform(0.2, 2.0))

    async def _say_next(self) -> None:
        chance = self.chance
        action, payload = self.queue[0]
        self.sent += 1
        message_id = f"{self.identity}-{self.sent}"
        if action == "TransactionEvent" and chance.random() < 0.2:
            payload = {**payload, "offline": True}
        frame = json.dumps([2, message_id, action, payload]).encode()
        for attempt in range(20):
            if self.link is None:
                return
            if attempt and chance.random() < 0.5:
                self.sent += 1
                message_id = f"{self.identity}-{self.sent}"
                frame = json.dumps([2, message_id, action, payload]).encode()
            if self.calm or chance.random() > 0.04:
                self.link.send(frame)
            if not self.calm and chance.random() < LOSES:
                self._lose()
                return
            answer = await self._answer_to(message_id)
            if answer is None or (answer[0] == 4 and answer[2] == "RpcFrameworkError"):
                continue  # the latter: the gateway still holds this id from the last attempt
            self._answered(action, payload, answer)
            if not self.calm and chance.random() < 0.08:
                self.queue.insert(min(len(self.queue), chance.randint(0, 3)), (action, payload))
            return

    def _answered(self, action: str, payload: Json, answer: list[Any]) -> None:
        if answer[0] == 4:
            self.errors.append(f"{self.identity} {action}: {answer}")
            self.queue.popleft()
            return
        self.queue.popleft()
        if action == "TransactionEvent":
            key = (payload["transactionInfo"]["transactionId"], payload["seqNo"])
            said = {name: value for name, value in payload.items() if name != "offline"}
            if said not in self.twins.get(key, ()):
                self.acknowledged[key] = said
            elif said not in self.contradicted.setdefault(key, []):
                self.contradicted[key].append(said)
            if ("idToken" in payload) != ("idTokenInfo" in answer[2]):
                self.tokenless_answers.append(f"{self.identity} {key}: {answer}")

    async def _answer_to(self, message_id: str) -> list[Any] | None:
        loop = asyncio.get_running_loop()
        until = loop.time() + ANSWER_WITHIN_S
        while (left := until - loop.time()) > 0 and self.link is not None:
            frame = await self._listen(left)
            if frame is not None and frame[0] in (3, 4) and frame[1] == message_id:
                return frame
        return None

    async def _listen(self, wait_s: float) -> list[Any] | None:
        """The next answer within that time; commands are carried out on the way."""
        try:
            async with asyncio.timeout(wait_s):
                raw = await self.incoming.get()
        except TimeoutError:
            return None
        if raw is None:
            self.link = None
            return None
        frame: list[Any] = json.loads(raw)
        if frame[0] == 2:
            await self._obey(frame)
            return None
        return frame

    async def _obey(self, call: list[Any]) -> None:
        _, command_id, action, asked = call
        self.executed[command_id] += 1
        if not self.calm and self.chance.random() < 0.15:
            self._lose()
            return
        payload = {"UnlockConnector": {"status": "Unlocked"}, "ClearCache": {"status": "Accepted"}}.get(action, {})
        if action == "RequestStopTransaction":
            payload = {"status": "Accepted"}
        if action == "GetTransactionStatus":
            payload = self._transaction_status(asked.get("transactionId"))
        if self.link is not None:
            self.link.send(json.dumps([3, command_id, payload]).encode())

    def _transaction_status(self, transaction: str | None) -> Json:
        """E14: what waits in the queue; a transaction whose end waits there goes on."""
        waiting = [payload for action, payload in self.queue if action == "TransactionEvent"]
        if transaction is None:
            return {"messagesInQueue": bool(waiting)}
        mine = [payload for payload in waiting if payload["transactionInfo"]["transactionId"] == transaction]
        ongoing = any(payload["eventType"] == "Ended" for payload in mine)
        return {"messagesInQueue": bool(mine), "ongoingIndicator": ongoing}

    def _lose(self) -> None:
        if self.link is not None:
            self.link.cut()
            self.link = None
