"""What a connection was let in with, and whether that still holds after the registry has changed. No IO.

A station is served over the security profile that the registry expects of it, and over no other (A00.FR.001, FR.002).
While a change is under way the next profile (A05) and the next password (A01) are admitted beside the ones in force;
when the next one becomes the one in force, a connection that is there stays.
"""

from typing import Final, NamedTuple, Protocol

from ocppcore.envelope import AdmittedBy
from services.gateway.domain.certificates import Issuers

CERTIFICATE_REVOKED: Final = "certificate revoked"
AUTHORITY_DISTRUSTED: Final = "certificate's authority is not trusted any more"


class Entry(Protocol):
    """What of a registered station decides about connections. `controller`: normalised id of a Local Controller.

    Credentials are stored forms, "" for none; a `next_security_profile` of 0 is none.
    """

    @property
    def station(self) -> str: ...
    @property
    def security_profile(self) -> int: ...
    @property
    def credential(self) -> str: ...
    @property
    def disabled(self) -> bool: ...
    @property
    def next_credential(self) -> str: ...
    @property
    def next_security_profile(self) -> int: ...
    @property
    def allow_expired_certificate(self) -> bool: ...
    @property
    def controller(self) -> str: ...
    @property
    def serial_number(self) -> str: ...


class Grant(NamedTuple):
    """`carrier`: whose entry's credentials let it in, the station itself or its Local Controller.

    `credential`: the stored form of the password that was right, or for an open door the one that was not asked for;
    None where a certificate counted: its common name (that of the station itself), the serial number that was asked of
    it, its fingerprint, its own serial number, and its issuers. `expired`: its time is over: the station is Pending,
    whatever it was (A00.FR.429).
    """

    carrier: str
    security_profile: int
    credential: str | None
    by: AdmittedBy = ""
    certificate_name: str = ""
    serial_number: str = ""
    expired: bool = False
    fingerprint: str = ""
    certificate_serial: int = 0
    issuers: Issuers | None = None


def profiles(entry: Entry) -> tuple[int, ...]:
    """The security profiles that are admitted, the highest first."""
    both = {entry.security_profile, entry.next_security_profile} - {0}
    return tuple(sorted(both, reverse=True))


def carrier_of(entry: Entry) -> str:
    """Whose credentials a station's connection carries (Part 4, section 6.5)."""
    return entry.controller or entry.station


def holds(grant: Grant, station: Entry | None, carrier: Entry | None) -> bool:
    """Whether a connection with this grant would be let in again; `carrier`: the entry of `grant.carrier`."""
    if station is None or carrier is None or station.disabled or carrier.disabled:
        return False
    if carrier_of(station) != grant.carrier or grant.security_profile not in profiles(carrier):
        return False
    if grant.credential is not None:
        return grant.credential in (carrier.credential, carrier.next_credential or carrier.credential)
    return carrier.serial_number == grant.serial_number and (not grant.expired or carrier.allow_expired_certificate)


def promoted(grant: Grant, before: Entry | None, after: Entry | None) -> Grant:
    """The grant after its carrier's next password, or next profile, has become the one in force."""
    if before is None or after is None:
        return grant
    if grant.credential == before.credential and before.next_credential == after.credential != "":
        grant = grant._replace(credential=after.credential)
    if grant.security_profile == before.security_profile and before.next_security_profile == after.security_profile:
        grant = grant._replace(security_profile=after.security_profile)
    return grant
