"""Registration with the CSMS (B01-B03), reboots (B11, B12) and heartbeats (G02)."""

from typing import TYPE_CHECKING

from .device_model import Key
from .frames import Json
from .notes import PromiseBroken
from .outbox import Kind, OutCall, Registration

if TYPE_CHECKING:
    from .station import Station

REBOOT_WAIT_MS = 10_000  # at most, for the last transaction events to be answered (B12.FR.05)
OWN_INTERVAL_MS = 30_000  # where the CSMS names none (B02.FR.07)
MODEL, VENDOR = "Simulated", "Open CSMS"


class Boot:
    """When a station boots, with which reason, and what the CSMS's answer means."""

    __slots__ = ("_reason", "_reboot_by", "_station")

    def __init__(self, station: "Station") -> None:
        self._station = station
        self._reason = "PowerUp"
        self._reboot_by = 0

    def send(self) -> None:
        """BootNotification, unless one is under way."""
        station = self._station
        if station.outbox.has(Kind.BOOT):
            return
        about = {
            "model": MODEL,
            "vendorName": VENDOR,
            "serialNumber": station.config.station_id[:25],
            "firmwareVersion": station.firmware,
        }
        payload = {"reason": self._reason, "chargingStation": about}
        station.calls.put(OutCall(Kind.BOOT, "BootNotification", payload))

    def triggered(self) -> None:
        """TriggerMessage(BootNotification) (B02.FR.04)."""
        self._reason = "Triggered"
        self._station.clear_timer("boot", 0)
        self.send()

    def answered(self, answer: Json) -> None:
        station = self._station
        interval_ms = int(answer["interval"]) * 1000
        match answer["status"]:
            case "Accepted":
                station.registration = Registration.ACCEPTED
                if interval_ms > 0:
                    station.model.put(Key("OCPPCommCtrlr", "HeartbeatInterval"), str(interval_ms // 1000))
                self._reason = "Unknown"
                station.report_all()
                self.schedule_heartbeat(first=True)
            case "Pending" | "Rejected" as status:
                station.registration = Registration(status.lower())
                station.clear_timer("heartbeat", 0)
                self.again_after(interval_ms)
            case other:
                station.note(PromiseBroken(f"BootNotification answered with status {other}"))
                self.again_after(0)

    def again_after(self, interval_ms: int) -> None:
        """After the interval that the CSMS asked for, else after one of the station's own (B02.FR.07,
        B02.FR.08)."""
        own_ms = OWN_INTERVAL_MS + self._station.fault_rng.between(0, 5_000)
        self._station.set_timer("boot", 0, interval_ms or own_ms)

    def no_longer_accepted(self) -> None:
        """The CSMS answered SecurityError: it does not know this station as accepted any more, so ask
        again."""
        if self._station.registration is Registration.ACCEPTED:
            self._station.registration = Registration.NONE
            self._station.clear_timer("heartbeat", 0)
            self._station.set_timer("boot", 0, 5_000)

    def schedule_heartbeat(self, *, first: bool = False) -> None:
        """Stations that booted together shall not beat together: the first beat comes early by a random
        part."""
        interval_ms = self._station.model.integer("OCPPCommCtrlr", "HeartbeatInterval") * 1000
        after_ms = self._station.fault_rng.between(interval_ms // 2, interval_ms) if first else interval_ms
        self._station.set_timer("heartbeat", 0, after_ms)

    def reboot(self, reason: str) -> None:
        """Restarts as soon as the last transaction events are answered; `reason` is the next
        BootReasonEnumType."""
        self._reason = reason
        self._reboot_by = self._station.now + REBOOT_WAIT_MS
        self._station.set_timer("reboot", 0, 200)

    def reboot_now(self) -> None:
        station = self._station
        if station.outbox.queued_events and station.link.up and station.now < self._reboot_by:
            station.set_timer("reboot", 0, 200)
            return
        self._restart()

    def power_lost(self) -> None:
        """It starts again by itself, without a word before."""
        self._reason = "PowerUp"
        self._station.clear_timer("reboot", 0)
        self._restart()

    def _restart(self) -> None:
        station = self._station
        station.hang_up()
        station.networks.rebooted()
        station.registration = Registration.NONE
        station.clear_timer("boot", 0)
        station.set_timer("dial", 0, station.world(station.fault_rng.between(10, 30)))
