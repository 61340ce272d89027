"""A Charging Station without IO: `Station.step(now_ms, event) -> Actions`.

Everything it does follows from its configuration (with a seed) and the events it was given: no clock, no
network, no global randomness. The adapter in `client` plays it over a WebSocket; tests step it by hand or
under a virtual clock.
"""

from typing import Any

from . import commands, frames
from .actions import Actions
from .boot import Boot
from .calls import Calls
from .config import StationConfig
from .desk import AuthorizationDesk
from .device_model import DeviceModel, Key, layout
from .drivers import DriverAt
from .evse import Evse
from .frames import Json, rfc3339
from .inputs import (
    Connected,
    ConnectFailed,
    Disconnected,
    Event,
    Finish,
    GoOffline,
    IdToken,
    PlugIn,
    PresentToken,
    Received,
    Unplug,
    Wake,
)
from .link import Link, LinkState
from .networks import Networks
from .notes import (
    CommandAnswered,
    FaultInjected,
    Note,
    PromiseBroken,
    Refused,
    TransactionBegan,
)
from .outbox import NOTHING, Kind, Outbox, OutCall, Purpose, Registration
from .rng import Rng
from .smart_charging import Installed, limit_w

TIMERS_PER_STEP = 1000
RISKY = frozenset({"SetVariables", "CertificateSigned", "InstallCertificate", "SetNetworkProfile", "Reset"})
"""Commands that change what the station connects with, and how: where to die is worst."""


class Station:
    """One Charging Station. Its public attributes are for the handlers in `commands`, for its parts and for
    tests."""

    __slots__ = (
        "_actions",
        "_timers",
        "books",
        "boot",
        "calls",
        "certificate",
        "config",
        "csms_roots",
        "desk",
        "drivers",
        "evses",
        "fault_rng",
        "finishing",
        "firmware",
        "ids",
        "link",
        "model",
        "networks",
        "now",
        "outbox",
        "password",
        "profiles",
        "registration",
        "world_rng",
    )

    def __init__(self, config: StationConfig, now_ms: int) -> None:
        """The station is powered up at `now_ms`; its first `step` makes it dial."""
        self.config = config
        self.now = now_ms
        self.world_rng = Rng(config.seed, config.station_id, "world")
        self.fault_rng = Rng(config.seed, config.station_id, "faults")
        self.ids = Rng(config.seed, config.station_id, config.run)
        self._timers: dict[tuple[str, int], int] = {("dial", 0): now_ms}
        self._actions = Actions()
        self.model = DeviceModel(layout(config.evses, config.connectors, config.max_power_w), self._live_value)
        self.model.put(Key("TxCtrlr", "TxStartPoint"), config.tx_start_point)
        self.model.put(Key("TxCtrlr", "TxStopPoint"), config.tx_stop_point)
        self.model.put(Key("SecurityCtrlr", "Identity"), config.station_id)
        for component, variable, value, instance in config.variables:
            self.model.put(Key(component, variable, instance), value)
        self.password = config.password
        self.certificate = config.certificate
        self.csms_roots = {"": config.csms_roots} if config.csms_roots else {}
        self.networks = Networks(self, config.security_profile)
        self.firmware = "1.0.0"
        self.link = Link()
        self.outbox = Outbox(config.queue_limit)
        self.registration = Registration.NONE
        self.calls = Calls(self)
        self.boot = Boot(self)
        self.desk = AuthorizationDesk(self)
        self.profiles: tuple[Installed, ...] = ()
        self.books: dict[str, Any] = {}  # what the handlers in `commands` keep, each under its own name
        self.finishing = False
        register_wh = float(self.world_rng.between(1_000, 900_000))
        self.evses = [Evse(n, self, register_wh * n) for n in range(1, config.evses + 1)]
        people = config.drivers
        self.drivers = {e.id: DriverAt(e, self, people, people.gap_s) for e in self.evses} if people else {}

    # -- the one way in

    def step(self, now_ms: int, event: Event) -> Actions:
        """Takes one event at `now_ms` (never earlier than the last) and everything that time has made due."""
        self.now = max(self.now, now_ms)
        self._actions = actions = Actions()
        self._run_timers()
        match event:
            case Received(data):
                self._receive(data)
            case Connected():
                self._connected()
            case ConnectFailed(status):
                self._connect_failed(status)
            case Disconnected():
                if self.link.up:
                    self._lost_connection()
                    self.set_timer("dial", 0, self.link.back_off_ms(self.model, self.fault_rng))
            case GoOffline(for_ms):
                self._go_offline(for_ms, "reconnect")
            case PlugIn(evse_id, connector_id):
                self.evse(evse_id).plug_in(connector_id)
            case Unplug(evse_id):
                self.evse(evse_id).unplug()
            case PresentToken(evse_id, token):
                self.desk.present(self.evse(evse_id), token)
            case Finish():
                self._finish()
            case Wake():
                pass
        self.calls.pump()
        actions.wake_at = min(self._timers.values(), default=None)
        return actions

    # -- what callers may ask

    def evse(self, evse_id: int) -> Evse:
        """Raises ValueError for an EVSE that the station does not have."""
        if not 1 <= evse_id <= len(self.evses):
            raise ValueError(f"{self.config.station_id} has no EVSE {evse_id}")
        return self.evses[evse_id - 1]

    @property
    def online(self) -> bool:
        return self.link.up and self.registration is Registration.ACCEPTED

    @property
    def charging(self) -> bool:
        return any(evse.charging for evse in self.evses)

    @property
    def settled(self) -> bool:
        """Nobody uses it, and every transaction event was acknowledged or given up."""
        in_use = any(e.transaction or e.plugged or e.authorizing for e in self.evses)
        return not in_use and not self.outbox.queued_events

    # -- time

    def set_timer(self, name: str, evse_id: int, after_ms: int) -> None:
        """Replaces the timer of this name and EVSE (0: the station)."""
        self._timers[name, evse_id] = self.now + max(1, after_ms)

    def clear_timer(self, name: str, evse_id: int) -> None:
        self._timers.pop((name, evse_id), None)

    def world(self, seconds: float) -> int:
        """Seconds of the simulated world in ms of the wire."""
        return int(seconds * 1000 / self.config.speed)

    def _run_timers(self) -> None:
        for _ in range(TIMERS_PER_STEP):
            due = min(self._timers.items(), key=lambda item: item[1], default=None)
            if due is None or due[1] > self.now:
                return
            del self._timers[due[0]]
            self._timer(*due[0])

    def _timer(self, name: str, evse_id: int) -> None:
        match name:
            case "dial":
                self.link.state = LinkState.DIALLING
                self._actions.connect = True
            case "call-timeout":
                self.calls.timed_out()
            case "retry":
                pass  # the next pump looks again
            case "boot":
                self.boot.send()
            case "reboot":
                self.boot.reboot_now()
            case "heartbeat":
                self.send("Heartbeat", {})
                self.boot.schedule_heartbeat()
            case "offline":
                self._go_offline(self._offline_ms(), "offline")
            case "driver":
                self.drivers[evse_id].act()
            case "contactor":
                self.evse(evse_id).close_power_path()
            case "sample":
                self.evse(evse_id).sample()
            case "full":
                self.evse(evse_id).battery_full()
            case "connect-timeout":
                self.evse(evse_id).connect_timed_out()
            case _:
                commands.on_timer(self, name, evse_id)

    # -- the connection

    def _connected(self) -> None:
        if self.link.state is not LinkState.DIALLING:
            self._actions.disconnect = True  # the network went away while the adapter was dialling
            return
        offline_ms = self.now - (self.link.down_since or self.now)
        self.link.opened()
        self.networks.connected()
        if self.registration is not Registration.ACCEPTED:
            if ("boot", 0) not in self._timers:
                self.boot.send()
            return
        # No BootNotification on a mere reconnect (Part 4, 5.3); all connectors only after a long absence
        # (B04).
        if offline_ms > self.model.integer("OCPPCommCtrlr", "OfflineThreshold") * 1000:
            self.report_all()
        for evse in self.evses:
            self.report_status(evse)
        self.boot.schedule_heartbeat(first=True)

    def _connect_failed(self, status: int | None) -> None:
        if self.link.state is not LinkState.DIALLING:
            return
        self.link.lost(self.now)
        self.networks.failed()
        self.note(Refused(status))
        self.set_timer("dial", 0, self.link.back_off_ms(self.model, self.fault_rng))

    def _lost_connection(self) -> None:
        self.link.lost(self.now)
        self.clear_timer("heartbeat", 0)
        self.calls.connection_lost()
        self.desk.connection_lost()

    def hang_up(self) -> None:
        """The station itself ends the connection; it has to set the timer "dial"."""
        if self.link.up:
            self._lost_connection()
            self._actions.disconnect = True
        self.link.state = LinkState.DOWN

    def _go_offline(self, for_ms: int, kind: str) -> None:
        if self.finishing:
            return
        self.note(FaultInjected(kind))
        self.hang_up()
        self._actions.abrupt = True
        self.set_timer("dial", 0, for_ms)

    def _offline_ms(self) -> int:
        faults = self.config.faults
        return self.world(self.fault_rng.between(faults.offline_min_s, faults.offline_max_s))

    def _finish(self) -> None:
        self.finishing = True
        self.clear_timer("offline", 0)
        if self.link.state is LinkState.DOWN and self._timers.get(("dial", 0), 0) > self.now + 1000:
            self.set_timer("dial", 0, 1000)
        for driver in self.drivers.values():
            driver.finish()

    # -- for its parts and for the handlers in `commands`

    def note(self, note: Note) -> None:
        """Tells the surroundings."""
        self._actions.notes.append(note)

    def write(self, frame: bytes) -> None:
        """Sends a frame now."""
        self._actions.frames.append(frame)

    def send(self, action: str, payload: Json, *, triggered: bool = False, purpose: Purpose = NOTHING) -> bool:
        """Queues a CALL that is no transaction event. False, and nothing sent, while the station may not
        (offline, or not registered and not asked by the CSMS)."""
        if not self.link.up or (not triggered and self.registration is not Registration.ACCEPTED):
            return False
        self.calls.put(OutCall(Kind.TRIGGERED if triggered else Kind.NORMAL, action, payload, purpose))
        return True

    def send_event(self, evse: Evse, payload: Json) -> None:
        """Queues a TransactionEvent; offline if there is no connection now (E04.FR.03, E12.FR.02)."""
        if payload["eventType"] == "Started":
            self.note(TransactionBegan(payload["transactionInfo"]["transactionId"], evse.id))
            chance = self.config.faults.offline
            if chance and not self.finishing and self.fault_rng.chance(chance):
                self.set_timer("offline", 0, self._offline_ms())
        if not self.link.up:
            payload["offline"] = True
        self.calls.put(OutCall(Kind.TRANSACTION, "TransactionEvent", payload, Purpose("event", evse.id)))

    # -- frames from the CSMS

    def _receive(self, data: bytes | str) -> None:
        if not self.link.up:
            return
        frame = frames.parse(data)
        match frame:
            case frames.Call():
                self._command(frame)
            case frames.CallResult(message_id, payload):
                self.calls.result(message_id, payload)
            case frames.CallError(message_id, code, description):
                self.calls.error(message_id, code, description)
            case frames.Malformed(message_id, code, why):
                self.note(PromiseBroken(f"sent a frame that is no RPC message: {why}"))
                self.write(frames.error(message_id, code, why))

    def _command(self, call: frames.Call) -> None:
        """A CALL of the CSMS: the answer first, then what follows from it."""
        if self.registration is Registration.REJECTED:
            self._refuse(call, "SecurityError", "not accepted by the CSMS")  # B03.FR.08
            return
        handler = commands.ROUTES.get(call.action)
        if handler is None:
            self._refuse(call, "NotImplemented", f"no action {call.action[:50]}")
            return
        dies = call.action in RISKY and self._dies()
        if dies and self.fault_rng.chance(0.5):
            self._lose_power()
            return
        try:
            answer = handler(self, call.payload)
        except commands.TooMany as error:
            self._refuse(call, "OccurrenceConstraintViolation", str(error))
            return
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._refuse(call, "FormatViolation", f"{call.action}: {error!r}")
            return
        if not dies:
            self.write(frames.result(call.message_id, answer.payload))
            self.note(CommandAnswered(call.action, call.message_id, str(answer.payload.get("status", ""))))
        if answer.then is not None:
            answer.then()
        if dies:
            self._lose_power()

    def _dies(self) -> bool:
        chance = self.config.faults.power_cuts
        return chance > 0 and not self.finishing and self.fault_rng.chance(chance)

    def _lose_power(self) -> None:
        """What it was told so far it has kept; what it would have said is not said."""
        self.note(FaultInjected("power-cut"))
        self.boot.power_lost()
        self._actions.abrupt = True

    def _refuse(self, call: frames.Call, code: str, description: str) -> None:
        self.write(frames.error(call.message_id, code, description))
        self.note(CommandAnswered(call.action, call.message_id, code))

    # -- what an EVSE needs (`evse.Host`) and what a driver does (`drivers.Hands`)

    def present_token(self, evse: Evse, token: IdToken) -> None:
        self.desk.present(evse, token)

    def report_all(self) -> None:
        """StatusNotification for every connector (B01.FR.05, B04.FR.01)."""
        for evse in self.evses:
            evse.reported.clear()
            self.report_status(evse)

    def report_status(self, evse: Evse) -> None:
        """StatusNotification for every connector whose status is not the one last reported (G01)."""
        for connector_id in range(1, self.config.connectors + 1):
            status = evse.status(connector_id)
            if evse.reported.get(connector_id) != status and self.send_status(evse, connector_id):
                evse.reported[connector_id] = status
                commands.on_status(self, evse, connector_id, status)

    def send_status(self, evse: Evse, connector_id: int, *, triggered: bool = False) -> bool:
        payload = {
            "timestamp": rfc3339(self.now),
            "connectorStatus": evse.status(connector_id),
            "evseId": evse.id,
            "connectorId": connector_id,
        }
        return self.send("StatusNotification", payload, triggered=triggered)

    def new_transaction_id(self) -> str:
        return self.ids.uuid()

    def power_limit_w(self, evse: Evse) -> float:
        most = float(self.config.max_power_w)
        if evse.suspended:
            return 0.0
        if not self.profiles:
            return most
        running = evse.transaction
        started_at, transaction_id = (running.started_at, running.id) if running else (None, None)
        limit = limit_w(self.profiles, evse.id, self.now, started_at, transaction_id)
        return most if limit is None else max(0.0, min(limit, most))

    def may_start(self) -> bool:
        return not self.outbox.full and self.registration is Registration.ACCEPTED

    def session_changed(self, evse: Evse, what: str) -> None:
        driver = self.drivers.get(evse.id)
        if driver is not None:
            driver.noticed(what)
        if what == "ended":
            commands.on_transaction_ended(self, evse)

    def _live_value(self, key: Key) -> str | None:
        match key:
            case Key("ChargingStation", "AvailabilityState"):
                return "Available" if any(e.available for e in self.evses) else "Unavailable"
            case Key(_, "AvailabilityState", evse_id=int(evse_id)):
                evse = self.evse(evse_id)
                return evse.status(key.connector_id or evse.plugged or 1)
            case Key("LocalAuthListCtrlr", "Entries"):
                return str(len(self.desk.known))
            case Key("SmartChargingCtrlr", "Entries"):
                return str(len(self.profiles))
        return None
