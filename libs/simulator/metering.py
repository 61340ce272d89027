"""Meter values of one EVSE as OCPP samples (block J)."""

from dataclasses import dataclass

from .battery import Battery
from .frames import Json, rfc3339

AC_MAX_W = 22_080  # three phases of 32 A at 230 V; more than that is direct current
AC_VOLTS = 230.0
DC_VOLTS = 400.0


@dataclass(slots=True)
class Meter:
    """A register that only rises, and what flows now. `speed` as in `StationConfig`."""

    register_wh: float
    power_w: float = 0.0
    read_at: int = 0

    def advance(self, now_ms: int, battery: Battery | None, offered_w: float, speed: float) -> None:
        """Moves the energy of the time since the last call into the battery, at the offer that held all the
        while."""
        if battery is not None and now_ms > self.read_at:
            self.register_wh += battery.charge((now_ms - self.read_at) * speed / 1000, offered_w)
        self.power_w = battery.power_w(offered_w) if battery is not None else 0.0
        self.read_at = now_ms

    @property
    def reading_wh(self) -> float:
        """The register as it is sent: tenths of a Wh."""
        return round(self.register_wh, 1)


def meter_value(
    meter: Meter, battery: Battery | None, now_ms: int, context: str, measurands: str, max_power_w: int
) -> Json:
    """One MeterValueType with the configured measurands (a comma separated list). Without a battery there is
    no SoC."""
    direct = max_power_w > AC_MAX_W
    volts = DC_VOLTS if direct else AC_VOLTS
    samples: list[Json] = []
    for measurand in measurands.split(","):
        match measurand:
            case "Energy.Active.Import.Register":
                samples.append(_sample(meter.reading_wh, measurand, "Wh"))
            case "Power.Active.Import":
                samples.append(_sample(round(meter.power_w, 1), measurand, "W"))
            case "Current.Import" if direct:
                samples.append(_sample(round(meter.power_w / volts, 2), measurand, "A"))
            case "Current.Import":
                amps = round(meter.power_w / volts / 3, 2)
                samples += [_sample(amps, measurand, "A", phase) for phase in ("L1", "L2", "L3")]
            case "Voltage":
                samples.append(_sample(volts, measurand, "V", None if direct else "L1-N"))
            case "SoC" if battery is not None:
                samples.append(_sample(round(battery.soc * 100, 1), measurand, "Percent", location="EV"))
    samples = samples or [_sample(meter.reading_wh, "Energy.Active.Import.Register", "Wh")]
    for sample in samples:
        sample["context"] = context
    return {"timestamp": rfc3339(now_ms), "sampledValue": samples}


def _sample(value: float, measurand: str, unit: str, phase: str | None = None, location: str = "Outlet") -> Json:
    sample: Json = {
        "value": value,
        "measurand": measurand,
        "location": location,
        "unitOfMeasure": {"unit": unit},
    }
    if phase is not None:
        sample["phase"] = phase
    return sample
