"""A small device model (B05-B07): what can be asked and set, shared by all stations of one layout; a station
keeps only the values that were changed."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

from .authorization import LIST_MAX
from .frames import Json


class Key(NamedTuple):
    """Which variable of which component. Names are compared without regard to case."""

    component: str
    variable: str
    instance: str | None = None
    component_instance: str | None = None
    evse_id: int | None = None
    connector_id: int | None = None

    def folded(self) -> "Key":
        return self._replace(
            component=self.component.casefold(),
            variable=self.variable.casefold(),
            instance=self.instance.casefold() if self.instance else None,
            component_instance=self.component_instance.casefold() if self.component_instance else None,
        )

    @classmethod
    def read(cls, component: Json, variable: Json) -> "Key":
        """From the wire's ComponentType and VariableType."""
        evse = component.get("evse") or {}
        return cls(
            component["name"],
            variable["name"],
            variable.get("instance"),
            component.get("instance"),
            evse.get("id"),
            evse.get("connectorId"),
        )

    def wire(self) -> Json:
        """{"component": ComponentType, "variable": VariableType}."""
        component: Json = {"name": self.component}
        if self.component_instance is not None:
            component["instance"] = self.component_instance
        if self.evse_id is not None:
            component["evse"] = {"id": self.evse_id}
            if self.connector_id is not None:
                component["evse"]["connectorId"] = self.connector_id
        variable: Json = {"name": self.variable}
        if self.instance is not None:
            variable["instance"] = self.instance
        return {"component": component, "variable": variable}


class Variable(NamedTuple):
    key: Key
    value: str
    data_type: str
    mutability: str = "ReadOnly"
    unit: str | None = None
    low: int | None = None
    high: int | None = None
    values: str | None = None
    reboot: bool = False

    def allows(self, value: str) -> bool:
        """Is `value` of the type, within the limits, one of the list?"""
        match self.data_type:
            case "boolean":
                return value in ("true", "false")
            case "integer" | "decimal":
                try:
                    number = int(value) if self.data_type == "integer" else float(value)
                except ValueError:
                    return False
                return (self.low is None or number >= self.low) and (self.high is None or number <= self.high)
            case "OptionList":
                return self.values is None or value in self.values.split(",")
            case "MemberList" | "SequenceList":
                return self.values is None or set(value.split(",")) <= set(self.values.split(","))
            case _:
                return len(value) <= (self.high or 1000) and len(value) >= (self.low or 0)


_STATES = "Available,Occupied,Reserved,Unavailable,Faulted"
_POINTS = "ParkingBayOccupancy,EVConnected,Authorized,PowerPathClosed,EnergyTransfer"
_MEASURANDS = "Energy.Active.Import.Register,Power.Active.Import,Current.Import,Voltage,SoC"
_SHORT = "Energy.Active.Import.Register,SoC"

# component, variable, instance, value, dataType, mutability (rw: ReadWrite, wo: WriteOnly), unit, low, high,
# values, reboot
_CONTROLLERS: tuple[tuple[Any, ...], ...] = (
    ("AlignedDataCtrlr", "Interval", None, "0", "integer", "rw", "s", 0, 86400),
    ("AlignedDataCtrlr", "Measurands", None, _MEASURANDS, "MemberList", "rw", None, None, None, _MEASURANDS),
    ("AlignedDataCtrlr", "TxEndedInterval", None, "0", "integer", "rw", "s", 0, 86400),
    ("AlignedDataCtrlr", "TxEndedMeasurands", None, "Energy.Active.Import.Register", "MemberList", "rw"),
    ("AuthCacheCtrlr", "Enabled", None, "true", "boolean", "rw"),
    ("AuthCtrlr", "AuthorizeRemoteStart", None, "false", "boolean", "rw"),
    ("AuthCtrlr", "LocalAuthorizeOffline", None, "true", "boolean", "rw"),
    ("AuthCtrlr", "LocalPreAuthorize", None, "false", "boolean", "rw"),
    ("AuthCtrlr", "MasterPassGroupId", None, "", "string", "rw", None, None, 36),
    ("AuthCtrlr", "OfflineTxForUnknownIdEnabled", None, "false", "boolean", "rw"),
    ("ClockCtrlr", "TimeSource", None, "Heartbeat", "SequenceList", "rw", None, None, None, "Heartbeat,NTP"),
    ("ClockCtrlr", "TimeZone", None, "Etc/UTC", "string", "rw"),
    ("DeviceDataCtrlr", "BytesPerMessage", "GetReport", "65536", "integer"),
    ("DeviceDataCtrlr", "BytesPerMessage", "GetVariables", "65536", "integer"),
    ("DeviceDataCtrlr", "BytesPerMessage", "SetVariables", "65536", "integer"),
    ("DeviceDataCtrlr", "ItemsPerMessage", "GetReport", "20", "integer"),
    ("DeviceDataCtrlr", "ItemsPerMessage", "GetVariables", "50", "integer"),
    ("DeviceDataCtrlr", "ItemsPerMessage", "SetVariables", "50", "integer"),
    ("DisplayMessageCtrlr", "DisplayMessages", None, "10", "integer"),
    ("DisplayMessageCtrlr", "SupportedFormats", None, "ASCII,UTF8,URI", "MemberList"),
    ("DisplayMessageCtrlr", "SupportedPriorities", None, "AlwaysFront,InFront,NormalCycle", "MemberList"),
    ("LocalAuthListCtrlr", "BytesPerMessage", None, "65536", "integer"),
    ("LocalAuthListCtrlr", "Enabled", None, "true", "boolean", "rw"),
    ("LocalAuthListCtrlr", "Entries", None, "0", "integer", "ro", None, 0, LIST_MAX),
    ("LocalAuthListCtrlr", "ItemsPerMessage", None, "100", "integer"),
    ("MonitoringCtrlr", "BytesPerMessage", "SetVariableMonitoring", "65536", "integer"),
    ("MonitoringCtrlr", "ItemsPerMessage", "SetVariableMonitoring", "50", "integer"),
    ("OCPPCommCtrlr", "FileTransferProtocols", None, "HTTP,HTTPS", "MemberList"),
    ("OCPPCommCtrlr", "HeartbeatInterval", None, "300", "integer", "rw", "s", 1, 86400),
    ("OCPPCommCtrlr", "MessageAttempts", "TransactionEvent", "5", "integer", "rw", None, 1, 100),
    ("OCPPCommCtrlr", "MessageAttemptInterval", "TransactionEvent", "10", "integer", "rw", "s", 0, 3600),
    ("OCPPCommCtrlr", "MessageTimeout", "Default", "30", "integer", "ro", "s", 1, 3600),
    ("OCPPCommCtrlr", "ActiveNetworkProfile", None, "0", "integer"),
    ("OCPPCommCtrlr", "NetworkConfigurationPriority", None, "0", "SequenceList", "rw", None, None, None, "0,1,2,3"),
    ("OCPPCommCtrlr", "NetworkProfileConnectionAttempts", None, "3", "integer", "rw", None, 1, 100),
    ("OCPPCommCtrlr", "OfflineThreshold", None, "60", "integer", "rw", "s", 0, 86400),
    ("OCPPCommCtrlr", "ResetRetries", None, "1", "integer", "rw", None, 0, 10),
    ("OCPPCommCtrlr", "RetryBackOffRandomRange", None, "3", "integer", "rw", "s", 0, 3600),
    ("OCPPCommCtrlr", "RetryBackOffRepeatTimes", None, "4", "integer", "rw", None, 0, 16),
    ("OCPPCommCtrlr", "RetryBackOffWaitMinimum", None, "1", "integer", "rw", "s", 1, 3600),
    ("OCPPCommCtrlr", "UnlockOnEVSideDisconnect", None, "true", "boolean", "rw"),
    ("OCPPCommCtrlr", "WebSocketPingInterval", None, "0", "integer", "rw", "s", 0, 86400),
    ("ReservationCtrlr", "Enabled", None, "true", "boolean", "rw"),
    ("ReservationCtrlr", "NonEvseSpecific", None, "true", "boolean", "ro"),
    ("SampledDataCtrlr", "TxEndedInterval", None, "0", "integer", "rw", "s", 0, 86400),
    (
        "SampledDataCtrlr",
        "TxEndedMeasurands",
        None,
        _SHORT,
        "MemberList",
        "rw",
        None,
        None,
        None,
        _MEASURANDS,
    ),
    (
        "SampledDataCtrlr",
        "TxStartedMeasurands",
        None,
        _SHORT,
        "MemberList",
        "rw",
        None,
        None,
        None,
        _MEASURANDS,
    ),
    ("SampledDataCtrlr", "TxUpdatedInterval", None, "60", "integer", "rw", "s", 0, 86400),
    (
        "SampledDataCtrlr",
        "TxUpdatedMeasurands",
        None,
        _MEASURANDS,
        "MemberList",
        "rw",
        None,
        None,
        None,
        _MEASURANDS,
    ),
    ("SecurityCtrlr", "AllowSecurityProfileDowngrade", None, "false", "boolean"),
    ("SecurityCtrlr", "BasicAuthPassword", None, "", "string", "wo", None, 16, 40),
    ("SecurityCtrlr", "CertificateEntries", None, "0", "integer"),
    ("SecurityCtrlr", "Identity", None, "", "string"),
    ("SecurityCtrlr", "OrganizationName", None, "Simulator", "string", "rw"),
    ("SecurityCtrlr", "SecurityProfile", None, "1", "integer"),
    ("SmartChargingCtrlr", "Enabled", None, "true", "boolean", "rw"),
    ("SmartChargingCtrlr", "Entries", "ChargingProfiles", "0", "integer"),
    ("SmartChargingCtrlr", "LimitChangeSignificance", None, "1.0", "decimal", "rw"),
    ("SmartChargingCtrlr", "PeriodsPerSchedule", None, "1024", "integer"),
    ("SmartChargingCtrlr", "ProfileStackLevel", None, "10", "integer"),
    ("SmartChargingCtrlr", "RateUnit", None, "A,W", "MemberList"),
    ("TariffCostCtrlr", "Currency", None, "EUR", "string", "rw"),
    ("TariffCostCtrlr", "TariffFallbackMessage", None, "", "string", "rw"),
    ("TariffCostCtrlr", "TotalCostFallbackMessage", None, "", "string", "rw"),
    ("TxCtrlr", "EVConnectionTimeOut", None, "90", "integer", "rw", "s", 1, 3600),
    ("TxCtrlr", "StopTxOnEVSideDisconnect", None, "true", "boolean", "ro"),
    ("TxCtrlr", "StopTxOnInvalidId", None, "true", "boolean", "rw"),
    ("TxCtrlr", "TxBeforeAcceptedEnabled", None, "false", "boolean", "ro"),
    ("TxCtrlr", "TxStartPoint", None, "PowerPathClosed", "MemberList", "rw", None, None, None, _POINTS),
    ("TxCtrlr", "TxStopPoint", None, "PowerPathClosed", "MemberList", "rw", None, None, None, _POINTS),
    ("ChargingStation", "AvailabilityState", None, "", "OptionList", "ro", None, None, None, _STATES),
    ("ChargingStation", "Available", None, "true", "boolean"),
    ("ChargingStation", "Model", None, "Simulated", "string"),
    ("ChargingStation", "Problem", None, "false", "boolean"),
    ("ChargingStation", "SupplyPhases", None, "3", "integer"),
    ("ChargingStation", "VendorName", None, "Open CSMS", "string"),
)
_MUTABILITY = {"rw": "ReadWrite", "ro": "ReadOnly", "wo": "WriteOnly"}


def _controllers() -> Iterator[Variable]:
    for component, variable, instance, value, data_type, *rest in _CONTROLLERS:
        mutability = _MUTABILITY[rest[0]] if rest else "ReadOnly"
        yield Variable(Key(component, variable, instance), value, data_type, mutability, *rest[1:])


def _hardware(evses: int, connectors: int, max_power_w: int) -> Iterator[Variable]:
    for evse in range(1, evses + 1):

        def at(name: str, variable: str, *, evse: int = evse, connector: int | None = None) -> Key:
            return Key(name, variable, None, None, evse, connector)

        yield Variable(at("EVSE", "AvailabilityState"), "", "OptionList", values=_STATES)
        yield Variable(at("EVSE", "Available"), "true", "boolean")
        yield Variable(at("EVSE", "AllowReset"), "true", "boolean")
        yield Variable(at("EVSE", "Power"), str(max_power_w), "decimal", unit="W", high=max_power_w)
        yield Variable(at("EVSE", "SupplyPhases"), "3", "integer")
        for connector in range(1, connectors + 1):
            yield Variable(at("Connector", "AvailabilityState", connector=connector), "", "OptionList", values=_STATES)
            yield Variable(at("Connector", "Available", connector=connector), "true", "boolean")
            yield Variable(at("Connector", "ConnectorType", connector=connector), "cType2", "string")
            yield Variable(at("Connector", "SupplyPhases", connector=connector), "3", "integer")


@cache
def layout(evses: int, connectors: int, max_power_w: int) -> dict[Key, Variable]:
    """All variables of a station with so many EVSEs, by folded key. Shared: do not change it."""
    both = (*_controllers(), *_hardware(evses, connectors, max_power_w))
    return {variable.key.folded(): variable for variable in both}


@cache
def _folded(component: str, variable: str, instance: str | None) -> Key:
    """Only for names that this package spells out: the cache holds nothing else."""
    return Key(component, variable, instance).folded()


class DeviceModel:
    """The values of one station. `live` says those that the station's state decides (availability), else
    None."""

    __slots__ = ("_changed", "_live", "_variables")

    def __init__(self, variables: dict[Key, Variable], live: Callable[[Key], str | None]) -> None:
        self._variables = variables
        self._changed: dict[Key, str] = {}
        self._live = live

    def find(self, key: Key) -> Variable | None:
        return self._variables.get(key.folded())

    def has_component(self, key: Key) -> bool:
        wanted = key.folded()._replace(variable="", instance=None)
        return any(known._replace(variable="", instance=None) == wanted for known in self._variables)

    def value(self, variable: Variable) -> str:
        """The present value of a variable found before."""
        key = variable.key.folded()
        live = self._live(variable.key)
        return live if live is not None else self._changed.get(key, variable.value)

    def put(self, key: Key, value: str) -> None:
        """Sets a value, unchecked: the caller has asked `Variable.allows`, or sets what the station itself
        knows."""
        folded = key.folded()
        if folded not in self._variables:
            raise KeyError(f"no variable {key.component}.{key.variable}")
        self._changed[folded] = value

    def text(self, component: str, variable: str, instance: str | None = None) -> str:
        folded = _folded(component, variable, instance)
        changed = self._changed.get(folded)
        return self._variables[folded].value if changed is None else changed

    def integer(self, component: str, variable: str, instance: str | None = None) -> int:
        return int(self.text(component, variable, instance))

    def flag(self, component: str, variable: str) -> bool:
        return self.text(component, variable) == "true"

    def __iter__(self) -> Iterator[Variable]:
        return iter(self._variables.values())

    def report(self, variable: Variable) -> Json:
        """The variable as one ReportDataType."""
        attribute: Json = {
            "type": "Actual",
            "mutability": variable.mutability,
            "persistent": True,
            "constant": False,
        }
        if variable.mutability != "WriteOnly":
            attribute["value"] = self.value(variable)
        traits: Json = {"dataType": variable.data_type, "supportsMonitoring": True}
        if variable.unit:
            traits["unit"] = variable.unit
        if variable.low is not None:
            traits["minLimit"] = variable.low
        if variable.high is not None:
            traits["maxLimit"] = variable.high
        if variable.values is not None:
            traits["valuesList"] = variable.values
        return {**variable.key.wire(), "variableAttribute": [attribute], "variableCharacteristics": traits}
