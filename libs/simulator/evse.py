"""One EVSE: cable, authorization, energy and the transaction they make (E01-E10, E15).

Every change is reported to the `Host` (the station), which stamps, queues and sends. Nothing here knows of
connections: an EVSE charges whether the CSMS hears of it or not.
"""

from dataclasses import dataclass
from typing import Protocol

from .battery import Battery
from .config import StationConfig
from .device_model import DeviceModel
from .frames import Json, rfc3339
from .inputs import IdToken
from .metering import AC_MAX_W, Meter, meter_value
from .rng import Rng


class Host(Protocol):
    """What an EVSE needs of its station. `now` is ms since 1970; `world` turns seconds of the simulated world
    into ms."""

    now: int
    config: StationConfig
    model: DeviceModel
    world_rng: Rng

    def world(self, seconds: float) -> int: ...
    def set_timer(self, name: str, evse_id: int, after_ms: int) -> None: ...
    def clear_timer(self, name: str, evse_id: int) -> None: ...
    def report_status(self, evse: "Evse") -> None: ...
    def send_event(self, evse: "Evse", payload: Json) -> None: ...
    def new_transaction_id(self) -> str: ...
    def power_limit_w(self, evse: "Evse") -> float: ...
    def may_start(self) -> bool: ...
    def session_changed(self, evse: "Evse", what: str) -> None: ...


@dataclass(slots=True)
class Reservation:
    id: int
    token: IdToken
    group: str | None
    expires_at: int


@dataclass(slots=True)
class Transaction:
    """A transaction under way. `seq_no` is that of the next event; it starts at 0 and rises by one
    (E01.FR.07)."""

    id: str
    started_at: int
    seq_no: int = 0
    charging_ms: int = 0
    state: str = "Idle"
    told_connector: bool = False
    told_token: bool = False
    stopped_reason: str | None = None


class Evse:
    """The state of one EVSE. The methods are what drivers, the CSMS and timers do to it."""

    __slots__ = (
        "authorized",
        "authorizing",
        "battery",
        "charging",
        "connector_operative",
        "group",
        "host",
        "id",
        "limit_w",
        "meter",
        "operative",
        "pending_remote",
        "pending_reservation",
        "pending_trigger",
        "plugged",
        "reported",
        "reservation",
        "suspended",
        "token",
        "transaction",
    )

    def __init__(self, evse_id: int, host: Host, register_wh: float) -> None:
        self.id = evse_id
        self.host = host
        self.plugged = 0  # the connector in use; 0 = none
        self.battery: Battery | None = None
        self.token: IdToken | None = None
        self.group: str | None = None
        self.authorized = False
        self.authorizing = False
        self.charging = False  # the power path is closed
        self.suspended = False  # no energy for an idToken that turned out bad (E05.FR.02)
        self.operative = True
        self.connector_operative = [True] * host.config.connectors
        self.reservation: Reservation | None = None
        self.transaction: Transaction | None = None
        self.meter = Meter(register_wh)
        self.limit_w = float(host.config.max_power_w)
        self.pending_remote: int | None = None
        self.pending_reservation: int | None = None
        self.pending_trigger: str | None = None
        self.reported: dict[int, str] = {}

    # -- what is asked of it

    @property
    def free(self) -> bool:
        """Nobody uses it, and it may be used."""
        return not (self.plugged or self.authorized or self.authorizing or self.transaction) and self.available

    @property
    def available(self) -> bool:
        return self.operative and any(self.connector_operative)

    def status(self, connector_id: int) -> str:
        """The ConnectorStatusEnumType of a connector now."""
        if self.plugged == connector_id:
            return "Occupied"
        if not (self.operative and self.connector_operative[connector_id - 1]):
            return "Unavailable"
        if self.reservation is not None and not self.authorized:
            return "Reserved"
        return "Occupied" if self.plugged else "Available"

    # -- what drivers do

    def plug_in(self, connector_id: int) -> bool:
        """False if the cable cannot be plugged in here and now."""
        if self.plugged or not self.operative or not self.connector_operative[connector_id - 1]:
            return False
        rng = self.host.world_rng
        start = rng.between(8, 60) / 100
        peak = min(self.host.config.max_power_w, rng.choice((7_400, 11_000, 22_000, 50_000, 120_000)))
        capacity = rng.between(38, 95) * 1000
        self.battery = Battery(capacity, peak, start, min(1.0, start + rng.between(10, 70) / 100))
        self.plugged = connector_id
        self.host.clear_timer("connect-timeout", self.id)
        self.host.report_status(self)
        self._risen("CablePluggedIn")
        return True

    def unplug(self) -> None:
        if not self.plugged:
            return
        self._open_power_path()
        self.authorized = False
        self.plugged = 0
        self.battery = None
        self.host.report_status(self)
        transaction = self.transaction
        if transaction is not None:
            # If the authorization ended before, its reason is the transaction's; else the EV was torn away or
            # never authorized.
            self._end("EVCommunicationLost", transaction.stopped_reason or "EVDisconnected")
        self._forget_token()
        self.host.session_changed(self, "unplugged")

    def authorize(
        self, token: IdToken, group: str | None, trigger: str = "Authorized", remote: int | None = None
    ) -> None:
        """The idToken was found good: by the CSMS, by a list or a cache, or by the CSMS having asked for the
        start."""
        self.authorizing = False
        if self.authorized or not self.available or not self.host.may_start():
            self.host.session_changed(self, "refused")
            return
        self.token, self.group, self.authorized = token, group, True
        self.pending_remote, self.suspended = remote, False
        if self.transaction is not None:
            self.transaction.told_token, self.transaction.stopped_reason = False, None
        if self.reservation is not None:
            self.pending_reservation, self.reservation = self.reservation.id, None
            self.host.clear_timer("reservation", self.id)
            self.host.report_status(self)
        if not self.plugged:
            timeout_s = self.host.model.integer("TxCtrlr", "EVConnectionTimeOut")
            self.host.set_timer("connect-timeout", self.id, self.host.world(timeout_s))
        self.pending_trigger = trigger if remote is not None else None
        self._risen(trigger)
        self.host.session_changed(self, "remote-started" if remote is not None else "authorized")

    def stop(self, trigger: str, reason: str, token: IdToken | None = None) -> None:
        """The authorization ends: by the driver, by the CSMS, because the idToken turned out bad."""
        self._open_power_path()
        self.authorized = False
        self.host.clear_timer("connect-timeout", self.id)
        if self.transaction is not None:
            self.transaction.stopped_reason = reason
            if self._stops_on({"Authorized", "PowerPathClosed", "EnergyTransfer"}):
                self._end(trigger, reason, token)
            else:
                self._event("Updated", trigger, token=token)
        if not self.plugged or self.transaction is None:
            self._forget_token()
        self.host.session_changed(self, "stopped")

    def suspend(self) -> None:
        """The idToken turned out bad, and the transaction shall go on without energy (E05.FR.02)."""
        self.suspended = True
        self.limit_changed()

    def abort(self, trigger: str, reason: str) -> None:
        """The transaction ends whatever the TxStopPoint says (a reset)."""
        self._open_power_path()
        self.authorized = False
        if self.transaction is not None:
            self._end(trigger, reason)
        self._forget_token()
        self.host.session_changed(self, "stopped")

    # -- what time does

    def connect_timed_out(self) -> None:
        """Authorized, and nobody plugged in (E03.FR.05, F02.FR.07)."""
        self.authorized = False
        if self.transaction is not None:
            self._end("EVConnectTimeout", "Timeout")
        self._forget_token()
        self.host.session_changed(self, "stopped")

    def close_power_path(self) -> None:
        if not (self.authorized and self.plugged) or self.charging:
            return
        self._measure()
        self.charging = True
        self.limit_w = self.host.power_limit_w(self)
        self._measure()
        if self.transaction is None and self._starts_on({"EnergyTransfer"}):
            self._start("ChargingStateChanged")
        elif self.transaction is not None:
            self._event("Updated", "ChargingStateChanged", sample="Sample.Periodic", phases=True)
        self._watch_battery()

    def sample(self) -> None:
        """A periodic meter value is due (E02.FR.10)."""
        if self.transaction is None:
            return
        self._measure()
        self.limit_changed()
        self._event("Updated", "MeterValuePeriodic", sample="Sample.Periodic")
        self.schedule_sample()

    def battery_full(self) -> None:
        """The EV takes no more: it suspends the transfer (E01.FR.19)."""
        self._measure()
        if self.battery is not None and self.battery.full and self.charging:
            if self.transaction is not None and self.transaction.state != "SuspendedEV":
                self._event("Updated", "ChargingStateChanged", sample="Sample.Periodic")
        else:
            self._watch_battery()

    def schedule_sample(self) -> None:
        interval_s = self.host.model.integer("SampledDataCtrlr", "TxUpdatedInterval")
        if interval_s > 0:
            self.host.set_timer("sample", self.id, self.host.world(interval_s))
        else:
            self.host.clear_timer("sample", self.id)

    # -- what the CSMS does

    def limit_changed(self) -> None:
        """A charging profile came, went or reached its next period: adjust, and say so if it matters (K)."""
        limit_w = self.host.power_limit_w(self)
        if not self.charging or limit_w == self.limit_w:
            return
        self._measure()
        before, self.limit_w = self.limit_w, limit_w
        self._measure()
        self._watch_battery()
        if self.transaction is None:
            return
        if (before <= 0) != (limit_w <= 0):
            self._event("Updated", "ChargingStateChanged", sample="Sample.Periodic")
        elif abs(limit_w - before) * 100 >= before * float(
            self.host.model.text("SmartChargingCtrlr", "LimitChangeSignificance")
        ):
            self._event("Updated", "ChargingRateChanged", sample="Sample.Periodic")

    def triggered_event(self) -> None:
        """TriggerMessage(TransactionEvent) (F06.FR.07)."""
        if self.transaction is not None:
            self._measure()
            self._event("Updated", "Trigger", sample="Trigger")

    def clock_aligned_event(self) -> None:
        if self.transaction is not None:
            self._measure()
            self._event("Updated", "MeterValueClock", sample="Sample.Clock")

    def reading(self, context: str, measurands: str) -> Json:
        """A MeterValueType as of now."""
        self._measure()
        return meter_value(self.meter, self.battery, self.host.now, context, measurands, self.host.config.max_power_w)

    # -- inside

    def _measure(self) -> None:
        now = self.host.now
        if self.transaction is not None and self.charging and self.meter.power_w > 0:
            self.transaction.charging_ms += now - self.meter.read_at
        battery = self.battery if self.charging else None
        self.meter.advance(now, battery, self.limit_w, self.host.config.speed)

    def _open_power_path(self) -> None:
        self._measure()
        self.charging = False
        self._measure()
        self.host.clear_timer("contactor", self.id)
        self.host.clear_timer("full", self.id)

    def _watch_battery(self) -> None:
        left_s = self.battery.seconds_to_full(self.limit_w) if self.battery is not None else None
        if left_s is None:
            self.host.clear_timer("full", self.id)
        else:
            self.host.set_timer("full", self.id, self.host.world(left_s) + 1)

    def _risen(self, trigger: str) -> None:
        """A condition has become true: a transaction starts, or goes on (E01)."""
        points = set[str]()
        if self.plugged:
            points.add("EVConnected")
        if self.authorized:
            points.add("Authorized")
        if self.plugged and self.authorized:
            points.add("PowerPathClosed")
            self.host.set_timer("contactor", self.id, self.host.world(self.host.world_rng.between(1, 4)))
        if self.transaction is not None:
            self._event("Updated", trigger)
        elif self._starts_on(points) and self.host.may_start():
            self._start(trigger)

    def _starts_on(self, points: set[str]) -> bool:
        return bool(points & set(self.host.model.text("TxCtrlr", "TxStartPoint").split(",")))

    def _stops_on(self, points: set[str]) -> bool:
        return bool(points & set(self.host.model.text("TxCtrlr", "TxStopPoint").split(",")))

    def _start(self, trigger: str) -> None:
        self._measure()
        self.transaction = Transaction(self.host.new_transaction_id(), self.host.now)
        self._event("Started", trigger)
        self.schedule_sample()
        self.host.session_changed(self, "started")

    def _end(self, trigger: str, reason: str, token: IdToken | None = None) -> None:
        self._measure()
        self._event("Ended", trigger, token=token, reason=reason)
        self.transaction = None
        self.host.clear_timer("sample", self.id)
        self.host.session_changed(self, "ended")

    def _forget_token(self) -> None:
        self.token = self.group = None
        self.suspended = False
        self.pending_remote = self.pending_reservation = self.pending_trigger = None

    def _charging_state(self) -> str:
        if not self.plugged:
            return "Idle"
        if not self.charging:
            return "EVConnected"
        if self.limit_w <= 0:
            return "SuspendedEVSE"
        return "SuspendedEV" if self.battery is not None and self.battery.full else "Charging"

    def _event(
        self,
        event_type: str,
        trigger: str,
        *,
        token: IdToken | None = None,
        reason: str | None = None,
        sample: str | None = None,
        phases: bool = False,
    ) -> None:
        """Builds a TransactionEventRequest and hands it to the station."""
        transaction = self.transaction
        assert transaction is not None, "an event belongs to a transaction"
        transaction.state = self._charging_state()
        info: Json = {"transactionId": transaction.id, "chargingState": transaction.state}
        payload: Json = {
            "eventType": event_type,
            "timestamp": rfc3339(self.host.now),
            "triggerReason": self.pending_trigger or trigger,
            "seqNo": transaction.seq_no,
            "transactionInfo": info,
        }
        transaction.seq_no += 1
        self.pending_trigger = None
        if self.pending_remote is not None:
            info["remoteStartId"], self.pending_remote = self.pending_remote, None
        if self.pending_reservation is not None:
            payload["reservationId"], self.pending_reservation = self.pending_reservation, None
        if self.authorized and self.token is not None and not transaction.told_token:
            transaction.told_token = True
            token = token or self.token
        if token is not None:
            payload["idToken"] = token.wire()
        if event_type == "Started" or (self.plugged and not transaction.told_connector):
            transaction.told_connector = bool(self.plugged)
            payload["evse"] = {"id": self.id}
            if self.plugged:
                payload["evse"]["connectorId"] = self.plugged
        if phases and self.host.config.max_power_w <= AC_MAX_W:
            payload["numberOfPhasesUsed"] = 3
        if reason is not None:
            info["stoppedReason"] = reason
        context, setting = _CONTEXT[event_type]
        if event_type != "Updated" or sample is not None:
            measurands = self.host.model.text("SampledDataCtrlr", setting)
            payload["meterValue"] = [self._reading(sample or context, measurands)]
        if event_type == "Ended":
            info["timeSpentCharging"] = transaction.charging_ms // 1000
        self.host.send_event(self, payload)

    def _reading(self, context: str, measurands: str) -> Json:
        return meter_value(self.meter, self.battery, self.host.now, context, measurands, self.host.config.max_power_w)


_CONTEXT = {
    "Started": ("Transaction.Begin", "TxStartedMeasurands"),
    "Updated": ("Sample.Periodic", "TxUpdatedMeasurands"),
    "Ended": ("Transaction.End", "TxEndedMeasurands"),
}
