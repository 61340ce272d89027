"""What a client certificate says, and whether it opens the door to a station (security profile 3). No IO.

The certification path was verified in the TLS handshake (A00.FR.403), except for times: an expired certificate may be
let in where the registry says so by name (A00.FR.429), so its validity is judged here.
"""

from dataclasses import dataclass
from typing import NamedTuple

from cryptography import x509

from ocppcore.topics import normalise
from services.gateway.domain.ocsp import Question


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Issuers:
    """The rest of a certification path, who issued the certificate first: one object for all whom they certified.

    `fingerprints`: SHA-256 of each, in hexadecimal.
    """

    certificates: tuple[x509.Certificate, ...]
    fingerprints: tuple[str, ...]


class ClientCertificate(NamedTuple):
    """A certificate whose path leads to an authority that is trusted. Times in ms.

    `issuers_from` and `issuers_until`: when the whole rest of its path is valid. `fingerprint`: SHA-256 of the DER, in
    hexadecimal. `revoked`: it, or an authority above it, is on a list of revoked ones. `ocsp`: what may be asked about
    it online. `serial_number` and `issuers`: what is looked at again when authorities or lists of revoked ones change.
    """

    common_names: tuple[str, ...]
    organizations: tuple[str, ...]
    fingerprint: str
    valid_from: int
    valid_until: int
    issuers_from: int
    issuers_until: int
    revoked: bool = False
    ocsp: Question | None = None
    serial_number: int = 0
    issuers: Issuers | None = None


def refuses(certificate: ClientCertificate, identity: str, serial_number: str, trusted: tuple[str, ...]) -> str | None:
    """Why it opens nothing for this station, whatever the time is; None when it does. A word each, for metrics.

    `trusted`: names of organisations, the operator's own and others (A00.FR.404); empty: none is asked for.
    """
    if certificate.revoked:
        return "certificate_revoked"
    if trusted and not set(trusted) & set(certificate.organizations):
        return "certificate_organization"
    if len(certificate.common_names) != 1:
        return "certificate_name"
    name = certificate.common_names[0]
    fits = name == serial_number if serial_number else name.isascii() and normalise(name) == normalise(identity)
    return None if fits else "certificate_name"


def organizations_differ(certificate: ClientCertificate, trusted: tuple[str, ...]) -> str:
    """Why `certificate_organization`, in words for whoever has to make the two agree."""
    shown, wanted = " and ".join(map(repr, certificate.organizations)) or "none", " or ".join(map(repr, trusted))
    folded = {" ".join(name.casefold().split()) for name in trusted}
    close = any(" ".join(name.casefold().split()) in folded for name in certificate.organizations)
    hint = ": they differ in case or spaces only" if close else ""
    return f"the certificate's O is {shown}, CSMS_OCPP_ORGANIZATIONS has {wanted}{hint}"


def untimely(certificate: ClientCertificate, now: int) -> str | None:
    """What its time forbids: `certificate_expired` alone may be excused; None when it is valid now."""
    if not certificate.issuers_from <= now <= certificate.issuers_until:
        return "certificate_issuer_expired"
    if now < certificate.valid_from:
        return "certificate_not_yet_valid"
    return "certificate_expired" if now > certificate.valid_until else None
