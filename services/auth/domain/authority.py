"""Who signs for us: the local authority, made when it is first wanted, and every CA certificate that is trusted for it.

The local authority's home is the cell of `local`; its private keys are in no event and no projection (`AuthorityKeys`):
who loses them makes others, and what the old ones signed stays trusted. A CA certificate's home is the cell of its
fingerprint.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, Literal

import msgspec

from ocppcore import topics
from ocppcore.contracts.auth import AuthorityState, CertificateUse
from ocppcore.contracts.certificates import (
    AuthorityDistrusted,
    AuthorityTrusted,
    CaCertificate,
    EnsureLocalAuthority,
    LocalAuthorityMade,
    LocalAuthorityResult,
    LocalAuthorityWanted,
    TrustAuthority,
)
from ocppcore.envelope import state_record
from ocppcore.log import NewRecord
from ocppcore.service import NOTHING, Aggregate, Context, Follow, Need, Outcome, Put, Result, Timer, View
from ocppcore.store import Table, Upsert
from services.auth.domain.certificate import trust_record

LOCAL: Final = "local"
RENEWAL: Final = "authority-renewal"
RENEWAL_BEFORE_MS: Final = 2 * 365 * 24 * 3600 * 1000
"""A CA stops signing so long before it expires: longer than what it signs is valid."""

AUTHORITIES = Table(
    "authorities",
    {
        "fingerprint": "text",
        "kind": "text",
        "use": "text",
        "subject": "text",
        "not_after": "bigint",
        "certificate": "text",
        "trusted": "boolean",
        "since": "bigint",
    },
    key=("fingerprint",),
)


class KeptKey(msgspec.Struct, frozen=True, kw_only=True):
    """Root and issuing CA of one use: certificates in PEM, private keys sealed."""

    use: CertificateUse
    root: str
    root_key: str
    issuing: str
    issuing_key: str


class AuthorityKeys(Aggregate, frozen=True, kw_only=True):
    """The private keys of the local authority, sealed; id = `local`. In no event, and never rebuilt."""

    KIND: ClassVar[str] = "AuthorityKeys"
    REBUILT: ClassVar[bool] = False
    keys: tuple[KeptKey, ...]
    due: int


class LocalAuthority(Aggregate, frozen=True, kw_only=True):
    """Whether one was ever made, and when the next is due; id = `local`."""

    KIND: ClassVar[str] = "LocalAuthority"
    due: int


class Trusted(Aggregate, frozen=True, kw_only=True):
    """A CA certificate that signs or signed for us; id = fingerprint."""

    KIND: ClassVar[str] = "TrustedAuthority"
    use: CertificateUse
    distrusted: bool = False


def needs(*_: object) -> Sequence[Need]:
    return ((AuthorityKeys, LOCAL), (LocalAuthority, LOCAL))


def trust_needs(_: TrustAuthority, key: str) -> Sequence[Need]:
    return ((Trusted, key),)


# Deciding


def ensure(_: EnsureLocalAuthority, view: View, context: Context) -> Outcome:
    """Have it made, if there is none, if its keys are lost, or if it is about to expire: 202, else 204."""
    made, keys = view.get(LocalAuthority, LOCAL), view.get(AuthorityKeys, LOCAL)
    reason: Literal["first", "keys_lost", "renewal"]
    if made is None:
        reason = "first"
    elif keys is None:
        reason = "keys_lost"
    elif context.now >= keys.due:
        reason = "renewal"
    else:
        return Outcome(result=Result(204))
    wanted = LocalAuthorityWanted(at=context.now, authority=LOCAL, reason=reason)
    return Outcome((wanted,), result=Result(202))


def made(body: LocalAuthorityResult, view: View, context: Context) -> Outcome:
    """Keys are there: the first to come are taken."""
    keys = view.get(AuthorityKeys, LOCAL)
    if keys is not None and context.now < keys.due:
        return NOTHING
    due = min(one.issuing.not_after for one in body.hierarchies) - RENEWAL_BEFORE_MS
    kept = AuthorityKeys(
        keys=tuple(
            KeptKey(
                use=one.use,
                root=one.root.certificate,
                root_key=one.root_key,
                issuing=one.issuing.certificate,
                issuing_key=one.issuing_key,
            )
            for one in body.hierarchies
        ),
        due=due,
    )
    authorities = tuple(
        TrustAuthority(use=one.use, authority=ca) for one in body.hierarchies for ca in (one.root, one.issuing)
    )
    event = LocalAuthorityMade(at=context.now, authority=LOCAL, authorities=authorities, due=due)
    return Outcome((event,), puts=(Put(LOCAL, kept),))


def renew(_: str, view: View, context: Context) -> Outcome:
    """The issuing CA is near its end."""
    return Outcome((LocalAuthorityWanted(at=context.now, authority=LOCAL, reason="renewal"),))


def trust(body: TrustAuthority, view: View, context: Context) -> Outcome:
    """Trust it from now on; one that signs for both uses is trusted for none."""
    known = view.get(Trusted, body.authority.fingerprint)
    if known is not None and (known.distrusted or known.use == body.use):
        return NOTHING
    event = AuthorityTrusted if known is None else AuthorityDistrusted
    about = event(at=context.now, fingerprint=body.authority.fingerprint, use=body.use, authority=body.authority)
    return Outcome((about,))


# Folding


def evolve_wanted(_: LocalAuthorityWanted, __: View) -> Iterable[Timer]:
    yield Timer(RENEWAL, LOCAL, None)


def evolve_made(event: LocalAuthorityMade, _: View) -> Iterable[Put | Timer]:
    yield Put(LOCAL, LocalAuthority(due=event.due))
    yield Timer(RENEWAL, LOCAL, event.due)


def derive_made(event: LocalAuthorityMade, follow: Follow) -> Iterable[NewRecord]:
    for number, body in enumerate(event.authorities):
        yield trust_record(body, f"{follow.id}/{number}", event.at, follow.partitions)


def evolve_trusted(event: AuthorityTrusted, _: View) -> Iterable[Put]:
    yield Put(event.fingerprint, Trusted(use=event.use))


def evolve_distrusted(event: AuthorityDistrusted, _: View) -> Iterable[Put]:
    yield Put(event.fingerprint, Trusted(use=event.use, distrusted=True))


def project(event: AuthorityTrusted | AuthorityDistrusted, _: View) -> Iterable[Upsert]:
    one: CaCertificate = event.authority
    trusted = isinstance(event, AuthorityTrusted)
    values = (
        one.fingerprint, one.kind, event.use, one.subject_name, one.not_after, one.certificate, trusted, event.at,
    )  # fmt: skip
    yield Upsert(AUTHORITIES, values)


def derive(event: AuthorityTrusted | AuthorityDistrusted, follow: Follow) -> Iterable[NewRecord]:
    """For the gateways."""
    one = event.authority
    state = AuthorityState(
        fingerprint=one.fingerprint,
        kind=one.kind,
        use=event.use,
        not_after=one.not_after,
        certificate=one.certificate,
        deleted=isinstance(event, AuthorityDistrusted),
    )
    value = msgspec.to_builtins(state)
    yield state_record(topics.AUTHORITIES, one.fingerprint, value, "/auth", follow.id, event.at, follow.partitions)
