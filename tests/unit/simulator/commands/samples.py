"""One or more requests per CSMS-initiated action."""

from typing import Any

from simulator.frames import rfc3339

from ..bench import START, TOKEN

Json = dict[str, Any]
HOUR = 3_600_000
LATER = rfc3339(START + 1000 * HOUR)
HASH = {"hashAlgorithm": "SHA256", "issuerNameHash": "aa", "issuerKeyHash": "bb", "serialNumber": "1"}
HEARTBEAT = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}}
STATE = {"component": {"name": "EVSE", "evse": {"id": 1}}, "variable": {"name": "AvailabilityState"}}
NOWHERE = {"component": {"name": "Toaster"}, "variable": {"name": "Heat"}}


def profile(profile_id: int, purpose: str = "TxDefaultProfile", limit: float = 6_000, **more: Any) -> Json:
    schedule = {
        "id": 1,
        "chargingRateUnit": "W",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}],
        "startSchedule": rfc3339(START),
    }
    return {
        "id": profile_id,
        "stackLevel": 1,
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": "Absolute",
        "chargingSchedule": [schedule],
        **more,
    }


def monitor(kind: str, value: float, what: Json = STATE) -> Json:
    return {**what, "type": kind, "value": value, "severity": 5}


MESSAGE = {"id": 1, "priority": "NormalCycle", "message": {"format": "UTF8", "content": "Zap"}}
TRIGGERS = (
    "BootNotification",
    "LogStatusNotification",
    "FirmwareStatusNotification",
    "Heartbeat",
    "MeterValues",
    "SignChargingStationCertificate",
    "SignV2GCertificate",
    "SignCombinedCertificate",
    "StatusNotification",
    "TransactionEvent",
    "PublishFirmwareStatusNotification",
)

REQUESTS: tuple[tuple[str, Json], ...] = (
    ("CancelReservation", {"reservationId": 3}),
    ("CertificateSigned", {"certificateChain": "no certificate"}),
    ("ChangeAvailability", {"operationalStatus": "Operative"}),
    ("ChangeAvailability", {"operationalStatus": "Operative", "evse": {"id": 1, "connectorId": 2}}),
    ("ClearCache", {}),
    ("ClearChargingProfile", {"chargingProfileId": 1}),
    ("ClearChargingProfile", {"chargingProfileCriteria": {"chargingProfilePurpose": "TxDefaultProfile"}}),
    ("ClearDisplayMessage", {"id": 1}),
    ("ClearVariableMonitoring", {"id": [1, 99]}),
    ("CostUpdated", {"totalCost": 1.5, "transactionId": "x"}),
    ("CustomerInformation", {"requestId": 1, "report": True, "clear": True, "idToken": TOKEN.wire()}),
    ("CustomerInformation", {"requestId": 1, "report": True, "clear": False}),
    ("DataTransfer", {"vendorId": "org.example", "data": {"any": ["thing"]}}),
    ("DeleteCertificate", {"certificateHashData": HASH}),
    ("GetBaseReport", {"requestId": 1, "reportBase": "FullInventory"}),
    ("GetBaseReport", {"requestId": 1, "reportBase": "ConfigurationInventory"}),
    ("GetBaseReport", {"requestId": 1, "reportBase": "SummaryInventory"}),
    ("GetChargingProfiles", {"requestId": 1, "chargingProfile": {"chargingProfilePurpose": "TxDefaultProfile"}}),
    ("GetCompositeSchedule", {"evseId": 1, "duration": 3600}),
    ("GetCompositeSchedule", {"evseId": 0, "duration": 3600, "chargingRateUnit": "A"}),
    ("GetDisplayMessages", {"requestId": 1}),
    ("GetInstalledCertificateIds", {"certificateType": ["CSMSRootCertificate"]}),
    ("GetInstalledCertificateIds", {}),
    ("GetLocalListVersion", {}),
    ("GetLog", {"requestId": 1, "logType": "SecurityLog", "log": {"remoteLocation": "https://example.org/"}}),
    ("GetMonitoringReport", {"requestId": 1}),
    ("GetMonitoringReport", {"requestId": 1, "monitoringCriteria": ["DeltaMonitoring"]}),
    ("GetReport", {"requestId": 1, "componentVariable": [HEARTBEAT, {"component": {"name": "AuthCtrlr"}}]}),
    ("GetReport", {"requestId": 1, "componentCriteria": ["Problem"]}),
    ("GetReport", {"requestId": 1, "componentCriteria": ["Available", "Enabled"]}),
    ("GetTransactionStatus", {}),
    ("GetTransactionStatus", {"transactionId": "unknown"}),
    ("GetVariables", {"getVariableData": [HEARTBEAT, STATE, NOWHERE, {**HEARTBEAT, "attributeType": "Target"}]}),
    ("InstallCertificate", {"certificateType": "CSMSRootCertificate", "certificate": "no certificate"}),
    ("PublishFirmware", {"requestId": 1, "location": "https://example.org/fw", "checksum": "abc"}),
    ("RequestStartTransaction", {"remoteStartId": 1, "idToken": TOKEN.wire()}),
    ("RequestStartTransaction", {"remoteStartId": 2, "idToken": TOKEN.wire(), "evseId": 1}),
    (
        "RequestStartTransaction",
        {"remoteStartId": 3, "idToken": TOKEN.wire(), "evseId": 2, "chargingProfile": profile(9, "TxProfile")},
    ),
    ("RequestStopTransaction", {"transactionId": "unknown"}),
    ("ReserveNow", {"id": 3, "expiryDateTime": LATER, "idToken": TOKEN.wire()}),
    ("Reset", {"type": "Immediate"}),
    ("Reset", {"type": "OnIdle", "evseId": 1}),
    (
        "SendLocalList",
        {
            "versionNumber": 1,
            "updateType": "Full",
            "localAuthorizationList": [{"idToken": TOKEN.wire(), "idTokenInfo": {"status": "Accepted"}}],
        },
    ),
    ("SendLocalList", {"versionNumber": 2, "updateType": "Differential"}),
    ("SetChargingProfile", {"evseId": 0, "chargingProfile": profile(1)}),
    ("SetChargingProfile", {"evseId": 0, "chargingProfile": profile(2, "ChargingStationMaxProfile", 9_000)}),
    ("SetChargingProfile", {"evseId": 1, "chargingProfile": profile(3, "TxProfile", transactionId="unknown")}),
    ("SetDisplayMessage", {"message": MESSAGE}),
    ("SetMonitoringBase", {"monitoringBase": "All"}),
    ("SetMonitoringLevel", {"severity": 7}),
    (
        "SetNetworkProfile",
        {
            "configurationSlot": 1,
            "connectionData": {
                "ocppVersion": "OCPP20",
                "ocppTransport": "JSON",
                "ocppCsmsUrl": "wss://example.org",
                "messageTimeout": 30,
                "securityProfile": 2,
                "ocppInterface": "Wired0",
            },
        },
    ),
    ("SetVariableMonitoring", {"setMonitoringData": [monitor("Delta", 1), monitor("Periodic", 600)]}),
    ("SetVariableMonitoring", {"setMonitoringData": [monitor("UpperThreshold", 1, NOWHERE)]}),
    ("SetVariables", {"setVariableData": [{**HEARTBEAT, "attributeValue": "600"}]}),
    ("SetVariables", {"setVariableData": [{**HEARTBEAT, "attributeValue": "x"}, {**NOWHERE, "attributeValue": "1"}]}),
    *(("TriggerMessage", {"requestedMessage": message}) for message in TRIGGERS),
    ("TriggerMessage", {"requestedMessage": "StatusNotification", "evse": {"id": 1, "connectorId": 1}}),
    ("TriggerMessage", {"requestedMessage": "MeterValues", "evse": {"id": 1}}),
    ("UnlockConnector", {"evseId": 1, "connectorId": 1}),
    ("UnlockConnector", {"evseId": 9, "connectorId": 1}),
    ("UnpublishFirmware", {"checksum": "abc"}),
    (
        "UpdateFirmware",
        {"requestId": 1, "firmware": {"location": "https://e.org/", "retrieveDateTime": rfc3339(START)}},
    ),
)
