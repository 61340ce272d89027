"""The account at an ACME server (RFC 8555): its private key, made once, by whichever process comes first.

Like the keys of the local authority it is in no event and no projection; who loses it opens another account.
"""

from collections.abc import Sequence
from typing import ClassVar, Final

from ocppcore.contracts.certificates import AcmeKeyMade, EnsureAcmeKey
from ocppcore.service import Aggregate, Context, Need, Outcome, Put, Result, View

ACME: Final = "acme"


class AcmeKey(Aggregate, frozen=True, kw_only=True):
    """The account's private key, sealed; id = `acme`. `thumbprint`: of the public one (RFC 7638). Never rebuilt."""

    KIND: ClassVar[str] = "AcmeKey"
    REBUILT: ClassVar[bool] = False
    key: str
    thumbprint: str


def needs(*_: object) -> Sequence[Need]:
    return ((AcmeKey, ACME),)


def ensure(body: EnsureAcmeKey, view: View, context: Context) -> Outcome:
    """Keep this key if there is none: 204."""
    if view.get(AcmeKey, ACME) is not None:
        return Outcome(result=Result(204))
    made = AcmeKeyMade(at=context.now, authority=ACME, thumbprint=body.thumbprint)
    kept = AcmeKey(key=body.key, thumbprint=body.thumbprint)
    return Outcome((made,), puts=(Put(ACME, kept),), result=Result(204))
