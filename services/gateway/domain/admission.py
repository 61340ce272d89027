"""Who may connect: the station's identity in the URL, its credentials, the OCPP version. Nothing here performs IO.

Part 4, sections 3.1.1, 3.1.2 and 3.2; Basic authentication of security profiles 1 and 2 (A00.FR.202 to FR.207, FR.324).
"""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from ocppcore.topics import normalise
from services.gateway.domain.certificates import ClientCertificate

IDENTITY_CHARS_MAX: Final = 48
SUBPROTOCOLS: Final = ("ocpp2.0.1",)
"""Versions served, the preferred one first: of several offers the first of these wins."""

# identifierString (Part 2, data types) without the colon, which ends the user name in Basic authentication; with the
# space, because Part 4 itself connects a station named "RDAM 123".
_IDENTITY = re.compile(r"[A-Za-z0-9*\-_=+|@. ]{1,48}")
_BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class BadIdentity(ValueError):
    """The URL names no Charging Station; the text says what is wrong with it."""


class Basic(NamedTuple):
    """User name and password of HTTP Basic authentication."""

    user: str
    password: str


class Knock(NamedTuple):
    """What a handshake shows. `source`: the address it comes from; `secure`: over TLS, maybe with a certificate."""

    basic: Basic | None = None
    secure: bool = False
    certificate: ClientCertificate | None = None
    source: str = ""


def identity_of(target: str, prefix: str) -> str:
    """The identity in a request target: `/ocpp/RDAM%20123` -> `RDAM 123`. A query is ignored. Raises BadIdentity."""
    path = target.split("?", 1)[0].split("#", 1)[0]
    if not path.startswith(prefix):
        raise BadIdentity(f"stations connect to {prefix}<identity>")
    segment = path.removeprefix(prefix)
    if "/" in segment:
        raise BadIdentity("the identity of a Charging Station has no slash")
    if _BROKEN_PERCENT.search(segment):
        raise BadIdentity("the identity is not percent-encoded correctly")
    try:
        identity = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise BadIdentity("the identity is not UTF-8") from None
    if not identity:
        raise BadIdentity("the URL names no Charging Station")
    if len(identity) > IDENTITY_CHARS_MAX:
        raise BadIdentity(f"the identity is longer than {IDENTITY_CHARS_MAX} characters")
    if not _IDENTITY.fullmatch(identity) or not identity.strip(". "):
        raise BadIdentity("the identity has characters that an identifierString without colon may not have")
    return identity


def basic_of(headers: Sequence[str]) -> Basic | None:
    """The credentials in the values of the Authorization headers; None when there are none, or not exactly one."""
    if len(headers) != 1:
        return None
    scheme, _, encoded = headers[0].strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    user, colon, password = text.partition(":")
    return Basic(user, password) if colon else None


def names_station(basic: Basic, *stations: str) -> bool:
    """Whether the user name is the identity of one of these, normalised (A00.FR.204). Case does not count, and
    characters that are none of ASCII, of which some fold to ASCII letters, are in no identity."""
    return basic.user.isascii() and normalise(basic.user) in stations


def choose_subprotocol(offered: Sequence[str]) -> str | None:
    """The version to speak, None when there is none in common."""
    return next((ours for ours in SUBPROTOCOLS if ours in offered), None)
