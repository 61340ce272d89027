"""TLS and SASL to Kafka, as the settings say: what goes together reaches the clients, what does not is refused."""

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from ocppcore.kafka.cluster import Cluster
from ocppcore.kafka.security import Security, security
from ocppcore.settings import BaseServiceSettings, SettingsError, read, variables
from tests.support.pki import authority

PASSWORD = "correct-horse-battery"
SASL = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "csms-device",
    "KAFKA_SASL_PASSWORD": PASSWORD,
}
TLS = {"KAFKA_SECURITY_PROTOCOL": "SSL"}


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables(BaseServiceSettings).values():
        monkeypatch.delenv(name, raising=False)


def found(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Security:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return security(read(BaseServiceSettings))


def test_nothing_set_is_a_plain_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    options = Cluster("a:1,b:2", 1.0, found(monkeypatch)).options()
    assert options["bootstrap_servers"] == ["a:1", "b:2"]
    assert options["security_protocol"] == "PLAINTEXT"
    assert not any(name.startswith(("sasl", "ssl")) for name in options)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_user_is_given_to_every_client(monkeypatch: pytest.MonkeyPatch, mechanism: str) -> None:
    options = Cluster("a:1", 1.0, found(monkeypatch, **SASL | {"KAFKA_SASL_MECHANISM": mechanism})).options()
    assert options["security_protocol"] == "SASL_PLAINTEXT"
    assert (options["sasl_mechanism"], options["sasl_plain_username"]) == (mechanism, "csms-device")
    assert options["sasl_plain_password"] == PASSWORD
    assert "ssl_context" not in options


def test_the_password_may_come_from_a_file_and_is_never_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    given = {name: value for name, value in SASL.items() if name != "KAFKA_SASL_PASSWORD"}
    made = found(monkeypatch, **given, KAFKA_SASL_PASSWORD_FILE=str(tmp_path / "password"))
    assert made.password == PASSWORD
    assert PASSWORD not in repr(made) + repr(Cluster("a:1", 1.0, made)) + repr(read(BaseServiceSettings))


def test_tls_knows_the_broker_by_the_authorities_of_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = authority()
    chain, key = root.issue("csms-device").write(tmp_path, "own")
    (tmp_path / "ca.pem").write_bytes(root.pem)
    files = {"KAFKA_SSL_CA_FILE": str(tmp_path / "ca.pem"), "KAFKA_SSL_CERT_FILE": str(chain)}
    tls = found(monkeypatch, **TLS, **files, KAFKA_SSL_KEY_FILE=str(key)).tls
    assert tls is not None
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert [one["serialNumber"] for one in tls.get_ca_certs()] == [f"{root.certificate.serial_number:040X}"]


def test_without_a_file_the_systems_authorities_count(monkeypatch: pytest.MonkeyPatch) -> None:
    tls = found(monkeypatch, **TLS).tls
    assert tls is not None
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "KAFKA_SASL_MECHANISM and KAFKA_SASL_USERNAME and .* are required"),
        (SASL | {"KAFKA_SASL_USERNAME": ""}, "SASL_PLAINTEXT: KAFKA_SASL_USERNAME is required"),
        (SASL | {"KAFKA_SASL_PASSWORD": ""}, "SASL_PLAINTEXT: KAFKA_SASL_PASSWORD is required"),
        (SASL | {"KAFKA_SASL_MECHANISM": ""}, "SASL_PLAINTEXT: KAFKA_SASL_MECHANISM is required"),
        (SASL | {"KAFKA_SECURITY_PROTOCOL": "SSL"}, "MECHANISM is set, .* SSL does not use it: choose SASL_SSL"),
        ({"KAFKA_SASL_USERNAME": "x"}, "KAFKA_SASL_USERNAME is set, .* PLAINTEXT does not use it"),
        ({"KAFKA_SASL_PASSWORD": "x"}, "KAFKA_SASL_PASSWORD is set"),
        ({"KAFKA_SSL_CA_FILE": "/ca.pem"}, "KAFKA_SSL_CA_FILE is set, .* PLAINTEXT does not use it: choose SSL"),
        (SASL | {"KAFKA_SSL_CERT_FILE": "/c.pem"}, "SASL_PLAINTEXT does not use it: choose SASL_SSL"),
        (TLS | {"KAFKA_SSL_KEY_FILE": "/k.pem"}, "KAFKA_SSL_KEY_FILE is set without KAFKA_SSL_CERT_FILE"),
        (TLS | {"KAFKA_SSL_CA_FILE": "/nowhere.pem"}, "KAFKA_SSL_CA_FILE: /nowhere.pem: No such file"),
        (TLS | {"KAFKA_SSL_CERT_FILE": "/nowhere.pem"}, "KAFKA_SSL_CERT_FILE, .*: /nowhere.pem, .* No such file"),
        ({"KAFKA_SECURITY_PROTOCOL": "TLS"}, "KAFKA_SECURITY_PROTOCOL: .*'SASL_SSL'"),
        ({"KAFKA_SASL_MECHANISM": "GSSAPI"}, "KAFKA_SASL_MECHANISM: .*'SCRAM-SHA-512'"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_named(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as refused:
        found(monkeypatch, **given)
    assert PASSWORD not in str(refused.value)


def test_files_that_hold_something_else_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = authority()
    chain, key = root.issue("csms-device").write(tmp_path, "own")
    _, others = root.issue("csms-auth").write(tmp_path, "others")
    own = root.issue("csms-device")
    locked = own.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a passphrase"))
    (tmp_path / "locked.key").write_bytes(locked)
    (tmp_path / "locked.pem").write_bytes(own.pem)
    (tmp_path / "text.pem").write_text("no certificate\n")
    with pytest.raises(SettingsError, match=r"KAFKA_SSL_CA_FILE: .*text\.pem: not PEM"):
        found(monkeypatch, **TLS, KAFKA_SSL_CA_FILE=str(tmp_path / "text.pem"))
    monkeypatch.delenv("KAFKA_SSL_CA_FILE")
    for certificate, held in ((chain, others), (tmp_path / "locked.pem", tmp_path / "locked.key")):
        with pytest.raises(SettingsError, match=f"KAFKA_SSL_KEY_FILE: .*{held.name}: not PEM, not a pair, or the key"):
            found(monkeypatch, **TLS, KAFKA_SSL_CERT_FILE=str(certificate), KAFKA_SSL_KEY_FILE=str(held))
    assert found(monkeypatch, **TLS, KAFKA_SSL_CERT_FILE=str(chain), KAFKA_SSL_KEY_FILE=str(key)).tls
