"""A driver's account over both services: transactions and auth in memory, records carried between them."""

import json
from decimal import Decimal
from typing import Any

import msgspec

from ocppcore import commands, topics
from ocppcore.authorization import OpenState, TokenState, left, token_key
from ocppcore.contracts.auth import PutToken
from ocppcore.envelope import parse_request
from ocppcore.log import NewRecord, Record
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import Outcome
from services.auth import service as auth
from services.auth.domain.token import Token
from services.transactions import service as transactions
from tests.support.given import NOW, World

PSEUDONYMS = Pseudonyms(b"a key of tests")
CARD = PSEUDONYMS.of("ISO14443", "ABC")


class Accounts:
    """Two worlds, a card with this credit, a tariff of one euro a kWh. `twice`: every request record comes twice."""

    def __init__(self, balance: str, *, limit: str = "0", currency: str = "EUR", twice: bool = False) -> None:
        parts = [*transactions.parts(PSEUDONYMS), commands.part(commands.commands("transactions"))]
        self.charging, self.auth = World("transactions", parts), World("auth", auth.parts(PSEUDONYMS))
        self.worlds = {"transactions": self.charging, "auth": self.auth}
        self.done = dict.fromkeys(self.worlds, 0)
        self.twice = twice
        for station in ("CS-1", "CS-2"):
            self.charging.connect(station)
        self.put(balance, limit, currency)
        tariff = {"id": "t", "version": 1, "currency": "EUR",
                  "elements": [{"priceComponents": [{"type": "ENERGY", "price": "1"}]}]}  # fmt: skip
        entry = {"id": "t", "versions": [tariff], "assignments": {"default": True}, "assignedAt": 1}
        self.charging.given_copy(topics.TARIFFS, "t", entry)
        self.settle()

    def put(self, balance: str, limit: str = "0", currency: str = "EUR") -> None:
        """The operator says what there is."""
        credit = {"balance": balance, "limit": limit, "currency": currency}
        state = msgspec.convert({"type": "ISO14443", "status": "Accepted", "credit": credit}, type=TokenState)
        self.auth.ask(PutToken.NAME, PutToken(state=state, driver_key="k"), key=CARD)

    def send(self, payload: dict[str, Any], station: str = "CS-1") -> Outcome:
        return self.charging.call("TransactionEvent", payload, station=station)

    def settle(self) -> None:
        """Records reach whom they are for, in order, until nothing follows."""
        moved = True
        while moved:
            moved = False
            for name, world in self.worlds.items():
                while self.done[name] < len(world.records):
                    record = world.records[self.done[name]]
                    self.done[name] += 1
                    moved = True
                    for _ in range(2 if self.twice else 1):
                        self._arrive(record)

    def _arrive(self, record: NewRecord) -> None:
        if record.topic in (topics.OPEN, topics.TOKENS):
            value = json.loads(record.value)
            for world in self.worlds.values():
                world.given_copy(record.topic, record.key, None if value.get("deleted") else value)
        for name, world in self.worlds.items():
            if record.topic == topics.requests(name):
                raw = Record(record.topic, record.partition, 0, record.key, record.value, record.headers, NOW)
                request = parse_request(raw)
                handler = world.service.requests[request.type]
                body = msgspec.json.decode(request.body, type=handler.body)
                world.ask(request.type, body, key=request.key, actor="")

    @property
    def balance(self) -> Decimal:
        token = self.auth.state(Token, CARD)
        assert token is not None and token.state.credit is not None
        return token.state.credit.balance

    @property
    def left(self) -> Decimal:
        """What decisions take to be left."""
        token = self.auth.state(Token, CARD)
        assert token is not None and token.state.credit is not None
        found = self.charging.copies.get((topics.OPEN, token_key(CARD)))
        return left(token.state.credit, msgspec.json.decode(found[0], type=OpenState) if found else OpenState())
