"""What the auth service says and takes: its events, the state records of tokens, API keys and authorities, its writes.

An event never carries an idToken in clear: it is named by its pseudonym, and its value is in `TokenState.sealed`,
encrypted under the driver's own key, which no event holds.
"""

from decimal import Decimal
from typing import ClassVar, Literal

import msgspec

from ocppcore.authorization import AuthorizationStatus, Group, TokenState
from ocppcore.commands import Ask
from ocppcore.service import Event
from ocppcore.topics import normalise

Scope = Literal["viewer", "operator", "admin"]

CertificateUse = Literal["ChargingStationCertificate", "V2GCertificate"]
"""CertificateSigningUseEnumType."""

AuthorityKind = Literal["root", "issuing", "revoked"]


class ApiKeyState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A record of `auth.apikeys`; its key is `id`. `hash` is the stored form of the key. Times in ms.

    `stations`: patterns of the stations that it reaches (`ocppcore.http.reach`), None: all.
    """

    id: str
    hash: str
    scope: Scope
    created_at: int
    deleted: bool = False
    name: str = ""
    stations: tuple[str, ...] | None = None
    expires_at: int | None = None
    disabled: bool = False


class AuthorityState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A record of `auth.authorities`; its key is `fingerprint`: SHA-256 of the DER, 64 hexadecimal digits, lower case.

    `kind` `root` and `issuing`: a CA certificate (`certificate`, PEM) of the authority that signs for this CSMS. Those
    whose `use` is ChargingStationCertificate are trusted for mutual TLS (A00.FR.403); a V2G authority never is,
    because a V2G certificate names an SECC, not a station. `revoked`: the fingerprint is that of a station's
    certificate, which opens nothing any more; the record goes (`deleted`) once that has expired. `not_after` in ms.
    """

    fingerprint: str
    kind: AuthorityKind
    use: CertificateUse
    not_after: int
    certificate: str = ""
    deleted: bool = False


# Requests


class PutToken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Register a token or replace what is registered. The record's key is the pseudonym.

    `state.sealed` is the value under the driver's key; `driver_key` is that key, itself sealed for auth alone. Both
    are used only where the driver has no key yet: a key, once made, stays until the driver is erased.
    """

    NAME: ClassVar[str] = "auth.PutToken.v1"
    state: TokenState
    driver_key: str


class PatchToken(msgspec.Struct, frozen=True, kw_only=True):
    """Set these fields of a registered token to what `state` has in them, by their names there. Key = pseudonym."""

    NAME: ClassVar[str] = "auth.PatchToken.v1"
    state: TokenState
    fields: tuple[str, ...]


class IssueToken(msgspec.Struct, frozen=True, kw_only=True):
    """Register an id that the CSMS made for a remote start, until its `valid_to`. Key = pseudonym; its value is kept
    nowhere."""

    NAME: ClassVar[str] = "auth.IssueToken.v1"
    state: TokenState


class RemoveToken(msgspec.Struct, frozen=True, kw_only=True):
    """Forget a token and erase its driver: the key goes, and with it the value in all events there ever were."""

    NAME: ClassVar[str] = "auth.RemoveToken.v1"


class Cached(msgspec.Struct, frozen=True, array_like=True):
    """A station that was told Accepted, `at` that time (ms), and may have kept it."""

    station: str
    at: int


class CachesFound(msgspec.Struct, frozen=True, kw_only=True):
    """Where a withdrawn token may be in a station's cache. Key = pseudonym."""

    NAME: ClassVar[str] = "auth.CachesFound.v1"
    caches: tuple[Cached, ...]


class ClearCache(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Ask a station to clear its cache (C11). `cached_at`: not asked for, but since a token that was told Accepted then
    is withdrawn."""

    NAME: ClassVar[str] = "auth.ClearCache.v1"
    ask: Ask
    cached_at: int | None = None


class ChargeCredit(msgspec.Struct, frozen=True, kw_only=True):
    """A charge detail record takes `amount` (negative: gives back) of a token's balance. Key = pseudonym; `number`: of
    the record, counted for this token: what is not newer than the last one was taken already."""

    NAME: ClassVar[str] = "auth.ChargeCredit.v1"
    number: int
    amount: Decimal
    currency: str


class PutApiKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Create an API key, or, with the id of one, replace it (the administrator's key at first start). Key = `id`."""

    NAME: ClassVar[str] = "auth.PutApiKey.v1"
    id: str
    hash: str
    scope: Scope
    name: str = ""
    stations: tuple[str, ...] | None = None
    expires_at: int | None = None


class ChangeApiKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Key = the API key's id. Disabled, it opens nothing and can be enabled again."""

    NAME: ClassVar[str] = "auth.ChangeApiKey.v1"
    disabled: bool


class RevokeApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """Key = the API key's id."""

    NAME: ClassVar[str] = "auth.RevokeApiKey.v1"


# Events


class TokenEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    token: str
    """The pseudonym."""

    def subject(self) -> str:
        return self.token


class TokenRegistered(TokenEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "auth.TokenRegistered.v1"
    state: TokenState
    actor: str = ""


class TokenChanged(TokenEvent, frozen=True, kw_only=True, omit_defaults=True):
    """`state` is the whole state after the change; `charged`: how many of its records have changed its balance."""

    TYPE: ClassVar[str] = "auth.TokenChanged.v1"
    state: TokenState
    actor: str = ""
    charged: int = 0


class TokenRemoved(TokenEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "auth.TokenRemoved.v1"
    type: str
    actor: str = ""


class TokenWithdrawn(TokenEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A token that was accepted was blocked, or removed: stations may still hold it in their caches."""

    TYPE: ClassVar[str] = "auth.TokenWithdrawn.v1"


class CachesStale(TokenEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The stations that may hold it, and since when."""

    TYPE: ClassVar[str] = "auth.CachesStale.v1"
    caches: tuple[Cached, ...]


class ApiKeyCreated(Event, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "auth.ApiKeyCreated.v1"
    state: ApiKeyState
    actor: str = ""

    def subject(self) -> str:
        return self.state.id


class ApiKeyChanged(Event, frozen=True, kw_only=True, omit_defaults=True):
    """`state` is the whole state after the change."""

    TYPE: ClassVar[str] = "auth.ApiKeyChanged.v1"
    state: ApiKeyState
    actor: str = ""

    def subject(self) -> str:
        return self.state.id


class ApiKeyRevoked(Event, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "auth.ApiKeyRevoked.v1"
    id: str
    scope: Scope
    actor: str = ""

    def subject(self) -> str:
        return self.id


class AuthStationEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """What a station asked of auth."""

    station: str

    def subject(self) -> str:
        return normalise(self.station)


class AuthorizationDecided(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Authorize and its answer. `token`: the pseudonym, "" for NoAuthorization.

    `token_position` and `station_position`: the records of `auth.tokens` and `device.stations` that it was decided
    on, -1: there was none; `open_position`, `group_open_position`, `held_position`: those of `transactions.open`, where
    these told of any. `certificate_status`: set where the station sent a contract certificate. `tariff`
    (`version/id`): its text was in the answer (I01).
    """

    TYPE: ClassVar[str] = "auth.AuthorizationDecided.v1"
    token: str
    token_type: str
    status: AuthorizationStatus
    group: Group | None = None
    evses: tuple[int, ...] = ()
    certificate_status: str = ""
    token_position: int = -1
    station_position: int = -1
    tariff: str = ""
    open_position: int = -1
    group_open_position: int = -1
    held_position: int = -1


class CacheClearAsked(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The station was asked to clear its Authorization Cache (C11)."""

    TYPE: ClassVar[str] = "auth.CacheClearAsked.v1"
    command_id: str


class KeyCodeRefused(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A wrong key code was entered at the station, the `wrong`-th that counts; from then until `locked_until` (0: not)
    no code is looked at there (C04.FR.06)."""

    TYPE: ClassVar[str] = "auth.KeyCodeRefused.v1"
    wrong: int
    locked_until: int = 0


class CertificateSigningRefused(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """SignCertificate, answered Rejected (A02.FR.12). `csr` is PEM and public; "" in a flood, of which only the first
    in an hour is an event."""

    TYPE: ClassVar[str] = "auth.CertificateSigningRefused.v1"
    csr: str
    certificate_type: str = ""
    reason: str = ""


class ContractCertificateRefused(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Get15118EVCertificate, answered Failed. The EXI request names the driver: not kept."""

    TYPE: ClassVar[str] = "auth.ContractCertificateRefused.v1"
    action: str
    schema_version: str


class CertificateStatusRefused(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """GetCertificateStatus, answered Failed (M06.FR.04)."""

    TYPE: ClassVar[str] = "auth.CertificateStatusRefused.v1"
    hash_algorithm: str
    issuer_name_hash: str
    issuer_key_hash: str
    serial_number: str
    responder_url: str
