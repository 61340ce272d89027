"""Certificates (A02, A03, M03-M05): a stored list; keys and requests come from the seed, as nothing here is
secret.

`cryptography` is imported where it is used: an idle fleet does not need its memory.
"""

from hashlib import sha256
from typing import TYPE_CHECKING

from ..config import ClientCertificate
from ..frames import Json
from ..rng import Rng
from .answer import Answer, book, status

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

    from ..station import Station

CERTIFICATES_MAX = 20
CSMS_ROOT = "CSMSRootCertificate"


def _load(pem: str) -> "Certificate | None":
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        return None


def _all(pems: str) -> "list[Certificate]":
    from cryptography import x509

    return x509.load_pem_x509_certificates(pems.encode()) if pems else []


def hash_data(certificate: "Certificate") -> Json:
    """CertificateHashDataType of a self-signed certificate, whose issuer's key is its own (RFC 6960's
    hashes)."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = certificate.public_key()
    if isinstance(key, EllipticCurvePublicKey):
        bits = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    else:
        bits = key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    return {
        "hashAlgorithm": "SHA256",
        "issuerNameHash": sha256(certificate.issuer.public_bytes()).hexdigest(),
        "issuerKeyHash": sha256(bits).hexdigest(),
        "serialNumber": f"{certificate.serial_number:x}",
    }


def install_certificate(station: "Station", request: Json) -> Answer:
    """M05."""
    certificate = _load(str(request["certificate"]))
    stored = book(station, "certificates")
    if certificate is None or len(stored) >= CERTIFICATES_MAX:
        return status("Rejected", "InvalidCertificate" if certificate is None else "TooManyElements")
    found = hash_data(certificate)
    kind, key = str(request["certificateType"]), tuple(found.values())
    stored[kind, key] = found
    if kind == CSMS_ROOT:
        station.csms_roots[found["serialNumber"]] = str(request["certificate"])
    return status("Accepted")


def get_installed_certificate_ids(station: "Station", request: Json) -> Answer:
    """M03. The roots that the station was delivered with are there too."""
    kinds = request.get("certificateType")
    delivered = [(CSMS_ROOT, hash_data(one)) for one in _all(station.csms_roots.get("", ""))]
    stored = [(kind, found) for (kind, _), found in book(station, "certificates").items()]
    chain = [
        {"certificateType": kind, "certificateHashData": found}
        for kind, found in delivered + stored
        if kinds is None or kind in kinds
    ]
    if not chain:
        return status("NotFound")
    return Answer({"status": "Accepted", "certificateHashDataChain": chain})


def delete_certificate(station: "Station", request: Json) -> Answer:
    """M04."""
    wanted = {k: v.casefold() for k, v in request["certificateHashData"].items() if isinstance(v, str)}
    stored = book(station, "certificates")
    for key, found in list(stored.items()):
        if {k: v.casefold() for k, v in found.items()} == wanted:
            del stored[key]
            if key[0] == CSMS_ROOT:
                station.csms_roots.pop(found["serialNumber"], None)
            return status("Accepted")
    return status("NotFound")


def certificate_signed(station: "Station", request: Json) -> Answer:
    """A02, A03: any certificate that can be read is kept; one for the key of our requests is shown to the CSMS from
    the next connection on, which comes at once where it needs one (A02.FR.04)."""
    chain = str(request["certificateChain"])
    certificate = _load(chain)
    if certificate is None:
        return status("Rejected", "InvalidCertificate")
    station.books["own-certificate"] = chain
    if request.get("certificateType") == "V2GCertificate" or certificate.public_key() != _key(station).public_key():
        return status("Accepted")
    station.certificate = ClientCertificate(chain, _key_pem(station))
    return status("Accepted", then=lambda: _connect_anew(station))


def _connect_anew(station: "Station") -> None:
    if station.networks.target.security_profile == 3:
        station.hang_up()
        station.set_timer("dial", 0, 100)


def sign(station: "Station", kind: str | None) -> None:
    """SignCertificate with a fresh request for this station (A02.FR.02)."""
    payload: Json = {"csr": _request(station)}
    if kind is not None:
        payload["certificateType"] = kind
    station.send("SignCertificate", payload, triggered=True)


def _key(station: "Station") -> "EllipticCurvePrivateKey":
    from cryptography.hazmat.primitives.asymmetric import ec

    rng = Rng(station.config.seed, station.config.station_id, "key")
    secret = sum(rng.bits() << (64 * i) for i in range(3)) + 1  # 192 bits: always below the order of P-256
    return ec.derive_private_key(secret, ec.SECP256R1())


def _key_pem(station: "Station") -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return _key(station).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _request(station: "Station") -> str:
    """A certificate signing request in PEM; the same seed gives the same bytes."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    key = _key(station)
    organization = station.model.text("SecurityCtrlr", "OrganizationName")
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, station.config.station_id),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
        ]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    signed = builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    return signed.public_bytes(Encoding.PEM).decode()
