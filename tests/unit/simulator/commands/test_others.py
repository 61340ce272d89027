"""Lists, firmware, logs, monitoring, messages and certificates."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from simulator.config import Setting
from simulator.inputs import PlugIn, PresentToken

from ..bench import TOKEN, booted
from .samples import HASH, MESSAGE, NOWHERE, STATE, monitor

ENTRY = {"idToken": TOKEN.wire(), "idTokenInfo": {"status": "Accepted"}}


def test_the_local_list_is_kept_by_version_and_used() -> None:
    bench = booted(variables=(Setting("AuthCtrlr", "LocalPreAuthorize", "true"),))
    full = {"versionNumber": 3, "updateType": "Full", "localAuthorizationList": [ENTRY]}
    assert bench.ask("SendLocalList", full) == {"status": "Accepted"}
    assert bench.ask("GetLocalListVersion", {}) == {"versionNumber": 3}
    older = {"versionNumber": 3, "updateType": "Differential"}
    assert bench.ask("SendLocalList", older) == {"status": "VersionMismatch"}
    bench.do(PlugIn(1))
    bench.do(PresentToken(1, TOKEN))
    bench.run(5)
    assert not bench.sent("Authorize")
    assert bench.events[0]["eventType"] == "Started"
    removal = {"versionNumber": 4, "updateType": "Differential", "localAuthorizationList": [{"idToken": TOKEN.wire()}]}
    assert bench.ask("SendLocalList", removal) == {"status": "Accepted"}
    assert len(bench.station.desk.known) == 0


def entry(n: int) -> dict[str, object]:
    return {"idToken": {"idToken": f"T-{n}", "type": "ISO14443"}, "idTokenInfo": {"status": "Accepted"}}


def test_the_local_list_decides_while_there_is_no_connection() -> None:
    bench = booted()
    full = {"versionNumber": 3, "updateType": "Full", "localAuthorizationList": [ENTRY]}
    assert bench.ask("SendLocalList", full) == {"status": "Accepted"}
    bench.drop()
    bench.do(PlugIn(1))
    bench.do(PresentToken(1, TOKEN))
    bench.run(30)
    assert bench.station.evse(1).authorized


def test_the_local_list_has_the_limits_that_the_device_model_tells() -> None:
    bench = booted()
    full = {"versionNumber": 1, "updateType": "Full", "localAuthorizationList": [entry(n) for n in range(101)]}
    assert bench.ask("SendLocalList", full)["status"] == "Failed"
    assert bench.ask("GetLocalListVersion", {}) == {"versionNumber": 0}
    for version in range(1, 11):
        some = [entry(n) for n in range(100 * (version - 1), 100 * version)]
        more = {"versionNumber": version, "updateType": "Differential", "localAuthorizationList": some}
        assert bench.ask("SendLocalList", more) == {"status": "Accepted"}
    over = {"versionNumber": 11, "updateType": "Differential", "localAuthorizationList": [entry(1000)]}
    assert bench.ask("SendLocalList", over)["status"] == "Failed"
    twice = {"versionNumber": 11, "updateType": "Differential", "localAuthorizationList": [entry(1), entry(1)]}
    assert bench.ask("SendLocalList", twice)["status"] == "Failed"
    assert bench.ask("GetLocalListVersion", {}) == {"versionNumber": 10}
    assert len(bench.station.desk.known) == 1000


def test_a_local_list_that_is_off_has_no_version() -> None:
    bench = booted(variables=(Setting("LocalAuthListCtrlr", "Enabled", "false"),))
    full = {"versionNumber": 3, "updateType": "Full", "localAuthorizationList": [ENTRY]}
    assert bench.ask("SendLocalList", full)["status"] == "Failed"
    assert bench.ask("GetLocalListVersion", {}) == {"versionNumber": 0}


def test_a_cleared_cache_forgets() -> None:
    bench = booted()
    for _ in range(2):
        bench.do(PresentToken(1, TOKEN))
        bench.run(1)
    bench.ask("ClearCache", {})
    bench.drop()
    bench.do(PlugIn(1))
    bench.do(PresentToken(1, TOKEN))
    bench.run(30)
    assert bench.events == []


def statuses(bench_sent: list[dict[str, object]]) -> list[object]:
    return [payload["status"] for payload in bench_sent]


def test_firmware_is_fetched_verified_installed_and_booted() -> None:
    bench = booted()
    firmware = {"location": "https://e.org/", "retrieveDateTime": "2020-01-01T00:00:00Z", "signature": "s"}
    assert bench.ask("UpdateFirmware", {"requestId": 8, "firmware": firmware}) == {"status": "Accepted"}
    bench.run(600)
    sent = bench.sent("FirmwareStatusNotification")
    assert statuses(sent) == [
        "Downloading",
        "Downloaded",
        "SignatureVerified",
        "Installing",
        "InstallRebooting",
        "Installed",
    ]
    assert {p["requestId"] for p in sent} == {8}
    assert bench.sent("BootNotification")[-1]["reason"] == "FirmwareUpdate"
    assert bench.station.firmware == "2.0.0"


def test_firmware_for_later_waits() -> None:
    bench = booted()
    firmware = {"location": "https://e.org/", "retrieveDateTime": "2025-10-09T09:30:00Z"}
    bench.ask("UpdateFirmware", {"requestId": 8, "firmware": firmware})
    bench.run(60)
    assert statuses(bench.sent("FirmwareStatusNotification")) == ["DownloadScheduled"]
    bench.run(3600)
    assert statuses(bench.sent("FirmwareStatusNotification"))[1] == "Downloading"


def test_a_log_is_uploaded_and_a_second_request_cancels_the_first() -> None:
    bench = booted()
    request = {"requestId": 1, "logType": "DiagnosticsLog", "log": {"remoteLocation": "https://e.org/"}}
    assert bench.ask("GetLog", request)["status"] == "Accepted"
    bench.run(1)
    assert bench.ask("TriggerMessage", {"requestedMessage": "LogStatusNotification"})["status"] == "Accepted"
    assert bench.ask("GetLog", {**request, "requestId": 2})["status"] == "AcceptedCanceled"
    bench.run(60)
    sent = [(p["status"], p["requestId"]) for p in bench.sent("LogStatusNotification")]
    assert sent == [("Uploading", 1), ("Uploading", 1), ("Uploading", 2), ("Uploaded", 2)]


def test_published_firmware_can_be_unpublished() -> None:
    bench = booted()
    bench.ask("PublishFirmware", {"requestId": 1, "location": "https://e.org/", "checksum": "abc"})
    bench.run(60)
    last = bench.sent("PublishFirmwareStatusNotification")[-1]
    assert (last["status"], len(last["location"])) == ("Published", 1)
    assert bench.ask("UnpublishFirmware", {"checksum": "abc"}) == {"status": "Unpublished"}
    assert bench.ask("UnpublishFirmware", {"checksum": "abc"}) == {"status": "NoFirmware"}


def test_monitors_report_changes_and_on_schedule_until_cleared() -> None:
    bench = booted()
    data = [monitor("Delta", 1), monitor("Periodic", 60), monitor("Delta", 1), monitor("Delta", 1, NOWHERE)]
    results = bench.ask("SetVariableMonitoring", {"setMonitoringData": data})["setMonitoringResult"]
    assert [r["status"] for r in results] == ["Accepted", "Accepted", "Duplicate", "UnknownComponent"]
    bench.do(PlugIn(1))
    bench.run(125)
    events = [e["eventData"][0] for e in bench.sent("NotifyEvent")]
    assert [(e["trigger"], e["actualValue"]) for e in events] == [
        ("Delta", "Occupied"),
        ("Periodic", "Occupied"),
        ("Periodic", "Occupied"),
    ]
    assert [e["eventId"] for e in events] == [1, 2, 3]
    assert bench.ask("GetMonitoringReport", {"requestId": 4}) == {"status": "Accepted"}
    bench.run(1)
    assert len(bench.sent("NotifyMonitoringReport")[0]["monitor"]) == 2
    cleared = bench.ask("ClearVariableMonitoring", {"id": [1, 2, 3]})["clearMonitoringResult"]
    assert [c["status"] for c in cleared] == ["Accepted", "Accepted", "NotFound"]
    assert bench.ask("GetMonitoringReport", {"requestId": 4}) == {"status": "EmptyResultSet"}
    bench.run(600)
    assert len(bench.sent("NotifyEvent")) == 3


def test_display_messages_are_kept_listed_and_removed() -> None:
    bench = booted()
    assert bench.ask("SetDisplayMessage", {"message": MESSAGE}) == {"status": "Accepted"}
    html = {**MESSAGE, "message": {"format": "HTML", "content": "<b>"}}
    assert bench.ask("SetDisplayMessage", {"message": html}) == {"status": "NotSupportedMessageFormat"}
    assert (
        bench.ask("SetDisplayMessage", {"message": {**MESSAGE, "transactionId": "x"}})["status"] == "UnknownTransaction"
    )
    assert bench.ask("GetDisplayMessages", {"requestId": 6})["status"] == "Accepted"
    bench.run(1)
    assert bench.sent("NotifyDisplayMessages")[0]["messageInfo"] == [MESSAGE]
    assert bench.ask("ClearDisplayMessage", {"id": 1}) == {"status": "Accepted"}
    assert bench.ask("GetDisplayMessages", {"requestId": 6}) == {"status": "Unknown"}


def test_customer_information_is_reported_and_then_forgotten() -> None:
    bench = booted()
    bench.do(PresentToken(1, TOKEN))
    bench.run(1)
    request = {"requestId": 2, "report": True, "clear": True, "idToken": TOKEN.wire()}
    for _ in range(2):
        assert bench.ask("CustomerInformation", request) == {"status": "Accepted"}
        bench.run(1)
    assert [p["data"] for p in bench.sent("NotifyCustomerInformation")] == ["cached: Accepted", ""]


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)])
def test_certificates_are_installed_listed_and_deleted(key: ec.EllipticCurvePrivateKey) -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Root")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(0xABC).not_valid_before(datetime(2025, 1, 1, tzinfo=UTC))
    certificate = builder.not_valid_after(datetime(2035, 1, 1, tzinfo=UTC)).sign(key, hashes.SHA256())
    pem = certificate.public_bytes(Encoding.PEM).decode()
    bench = booted()
    install = {"certificateType": "CSMSRootCertificate", "certificate": pem}
    assert bench.ask("InstallCertificate", install) == {"status": "Accepted"}
    listed = bench.ask("GetInstalledCertificateIds", {})["certificateHashDataChain"]
    by_ocsp = ocsp.OCSPRequestBuilder().add_certificate(certificate, certificate, hashes.SHA256()).build()
    assert listed[0]["certificateHashData"] == {
        "hashAlgorithm": "SHA256",
        "issuerNameHash": by_ocsp.issuer_name_hash.hex(),
        "issuerKeyHash": by_ocsp.issuer_key_hash.hex(),
        "serialNumber": "abc",
    }
    assert bench.ask("DeleteCertificate", {"certificateHashData": HASH}) == {"status": "NotFound"}
    wanted = {"certificateHashData": listed[0]["certificateHashData"]}
    assert bench.ask("DeleteCertificate", wanted) == {"status": "Accepted"}
    assert bench.ask("GetInstalledCertificateIds", {}) == {"status": "NotFound"}


def test_a_signing_request_is_one() -> None:
    bench = booted()
    bench.ask("TriggerMessage", {"requestedMessage": "SignChargingStationCertificate"})
    bench.run(1)
    request = x509.load_pem_x509_csr(bench.sent("SignCertificate")[0]["csr"].encode())
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "O=Simulator,CN=CS-1"


def test_monitoring_of_what_is_not_there_is_refused() -> None:
    answer = booted().ask("SetVariableMonitoring", {"setMonitoringData": [monitor("Delta", -1, STATE)]})
    assert answer["setMonitoringResult"][0]["status"] == "Rejected"
