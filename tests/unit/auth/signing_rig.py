"""A world of auth with a real local authority: what the engine does with its effects, by hand."""

import asyncio
import json
from typing import Any

import msgspec

from ocppcore.command_end import ENDED, Ended
from ocppcore.commands import commands, part
from ocppcore.contracts.certificates import (
    EnsureLocalAuthority,
    LocalAuthorityResult,
    RevocationResult,
    SigningResult,
    TrustAuthority,
)
from ocppcore.envelope import Frame
from ocppcore.memory import MemoryStore
from ocppcore.pseudonym import Pseudonyms
from ocppcore.rpc import CallError, CallResult
from ocppcore.seal import Seal
from ocppcore.service import Event, Outcome
from ocppcore.store import StateKey, StateWrite
from services.auth.authority.local import USES, LocalAuthority
from services.auth.authority.port import Authority, Revoker
from services.auth.authority.revoking import RevocationWorker
from services.auth.authority.worker import SigningWorker
from services.auth.certificates import Certificates
from services.auth.domain.authority import LOCAL, AuthorityKeys
from services.auth.domain.certificate import CHAINS
from services.auth.domain.certificate_signing import Rules
from services.auth.service import parts
from tests.support.csrs import csr
from tests.support.given import World

STATION = "CS-1"
KEY = "cs-1"
ORGANIZATION = "Operator"


RESULTS: Any = {one.NAME: one for one in (SigningResult, LocalAuthorityResult, RevocationResult)}


class Rig:
    """`world` with `authority` behind it: the local one, unless another is given; `revoker`: who tells it more."""

    def __init__(self, authority: Authority | None = None, revoker: Revoker | None = None, **rules: Any) -> None:
        self.store = MemoryStore()
        self.local = LocalAuthority(self.store, Seal(b"k" * 32, "test"), lambda: self.world.now, ORGANIZATION, 365)
        used = authority or self.local
        self.worker = SigningWorker(used, lambda: self.world.now, ORGANIZATION, None if authority else self.local)
        made = Rules(**{"uses": frozenset(USES), "organization": ORGANIZATION} | rules)
        effects = dict(self.worker.effects())
        if revoker is not None:
            effects |= RevocationWorker(revoker, self._chain).effects()
        certificates = Certificates(made, tells=revoker is not None, effects=effects)
        self.world = World("auth", (*parts(Pseudonyms(b"key"), certificates=certificates), part(commands("auth"))))
        self.carried = 0
        if authority is None:
            self.run(self.world.ask(EnsureLocalAuthority.NAME, EnsureLocalAuthority(), key=LOCAL))

    def run(self, outcome: Outcome) -> Outcome:
        """Perform the effects of an outcome, and decide about what they found out; the last outcome."""
        for event in outcome.events:
            effect = self.world.service.effects.get(type(event))
            if effect is not None:
                result = asyncio.run(self._perform(effect, event))
                body = msgspec.json.decode(msgspec.json.encode(result.body), type=RESULTS[result.type])
                outcome = self.world.ask(result.type, body, key=event.subject(), actor="")
                self._keep()
        self.carry()
        return outcome

    @staticmethod
    async def _perform(effect: Any, event: Event) -> Any:
        return await effect(event)

    async def _chain(self, fingerprint: str) -> str:
        return next((str(row["chain"]) for row in self.world.rows(CHAINS) if row["fingerprint"] == fingerprint), "")

    def _keep(self) -> None:
        """What the engine's commit does for the one aggregate that the authority reads."""
        keys = self.world.state(AuthorityKeys, LOCAL)
        if keys is not None:
            write = StateWrite(0, msgspec.json.encode(keys), False, None)
            self.store.tables.states[StateKey(AuthorityKeys.KIND, LOCAL)] = write

    def carry(self) -> None:
        """Hand records for auth's own requests to their handlers."""
        while self.carried < len(self.world.records):
            record = self.world.records[self.carried]
            self.carried += 1
            if record.topic == "auth.requests" and record.headers["ce_type"] == TrustAuthority.NAME:
                self.world.ask(
                    TrustAuthority.NAME, msgspec.json.decode(record.value, type=TrustAuthority), key=record.key
                )

    def sign(self, text: str | None = None, kind: str = "", station: str = STATION) -> Outcome:
        """The station sends SignCertificate, and the authority does its work; the outcome of the CALL."""
        outcome = self.send(text or csr(station), kind, station)
        self.run(outcome)
        return outcome

    def send(self, text: str, kind: str = "", station: str = STATION) -> Outcome:
        payload = {"csr": text} | ({"certificateType": kind} if kind else {})
        return self.world.call("SignCertificate", payload, station=station)

    def sent(self) -> list[dict[str, Any]]:
        """The payloads of every CertificateSigned that was asked for."""
        asked = [event for event in self.world.events if event.TYPE == "auth.CommandAsked.v1"]
        return [json.loads(bytes(event.payload)) for event in asked]  # type: ignore[attr-defined]

    def answer(self, status: str = "Accepted", send: int = 1, **info: Any) -> Outcome:
        """The station answers the newest CertificateSigned; its end comes back to auth."""
        command = [event for event in self.world.events if event.TYPE == "auth.CommandAsked.v1"][-1]
        command_id: str = command.command_id  # type: ignore[attr-defined]
        frame = Frame(
            KEY, STATION, 0, 1, 9, "ocpp2.0.1", self.world.now, "result", command_id, "CertificateSigned", "", b"", ""
        )
        payload = json.dumps({"status": status} | ({"statusInfo": info} if info else {})).encode()
        self.world.answer(frame, CallResult(command_id, payload))
        return self.ended()

    def error(self) -> Outcome:
        """The station answers it with a CALLERROR."""
        command_id: str = self.events("CommandAsked")[-1].command_id  # type: ignore[attr-defined]
        frame = Frame(
            KEY, STATION, 0, 1, 9, "ocpp2.0.1", self.world.now, "error", command_id, "CertificateSigned", "", b"", ""
        )
        self.world.answer(frame, CallError(command_id, "InternalError", "no"))
        return self.ended()

    def ended(self) -> Outcome:
        """The record by which a command's requester hears of its end arrives."""
        record = [
            one for one in self.world.records if one.topic == "auth.requests" and one.headers["ce_type"] == ENDED
        ][-1]
        return self.world.ask(ENDED, msgspec.json.decode(record.value, type=Ended), key=record.key, actor="")

    def events(self, name: str) -> list[Event]:
        """Those of this name, oldest first."""
        return [event for event in self.world.events if event.TYPE.split(".")[1] == name]

    def names(self, since: int = 0) -> list[str]:
        """Names of all events from there on, less those of commands and authorities."""
        found = [event.TYPE.split(".")[1] for event in self.world.events[since:]]
        return [name for name in found if not name.startswith(("Command", "Authority", "LocalAuthority"))]
