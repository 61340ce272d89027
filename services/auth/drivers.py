"""The values of idTokens, encrypted under a key of their driver, so that erasing the driver is deleting the key.

The key itself is kept sealed under the installation's `CSMS_PSEUDONYM_KEY`: who has the database alone reads nothing.
Randomness is needed, so keys are made where a token is put over HTTP, never in a decision.
"""

import base64
import os
from typing import NamedTuple

from ocppcore.seal import Seal

KEY_BYTES = 32


class Sealed(NamedTuple):
    """A value under its driver's key, and that key under the installation's; both base64."""

    value: str
    key: str


class Drivers:
    """Seals and opens values; `secret` is `CSMS_PSEUDONYM_KEY`."""

    def __init__(self, secret: bytes) -> None:
        self._keys = Seal(secret, "auth.keys")

    def seal(self, pseudonym: str, value: str) -> Sealed:
        """The value under a new key."""
        key, about = os.urandom(KEY_BYTES), pseudonym.encode()
        return Sealed(_text(_driver(key).seal(value.encode(), about)), _text(self._keys.seal(key, about)))

    def open(self, pseudonym: str, sealed: Sealed) -> str:
        """The value as it was spelled. Raises cryptography's InvalidTag when key and value are not of each other."""
        about = pseudonym.encode()
        key = self._keys.open(base64.b64decode(sealed.key), about)
        return _driver(key).open(base64.b64decode(sealed.value), about).decode()


def _driver(key: bytes) -> Seal:
    return Seal(key, "idToken")


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
