"""Stored forms of stations' passwords, and the check against them (A00.FR.207). Nothing here performs IO.

Two kinds, told apart by the prefix of the stored text:

- `b2$SALT$HASH`: keyed BLAKE2b, for passwords that the CSMS made. They are long and random, so a slow hash would
  protect nothing; the key keeps a stolen table from being tested at all. 2 microseconds: a reconnect storm is free.
- `scrypt$N$R$P$SALT$HASH`: for passwords that a person chose. About 20 ms and 8 MiB, on purpose: callers
  run it outside the event loop (`is_slow`). The key is mixed in here too.

SALT and HASH are base64url without padding. Cost parameters stand in the text, so they can be raised later.
"""

import base64
import binascii
import hashlib
import hmac
import os
from typing import Final

SALT_BYTES: Final = 12
HASH_BYTES: Final = 32
SCRYPT_N: Final = 2**13
SCRYPT_R: Final = 8
SCRYPT_P: Final = 1
SCRYPT_BYTES_MAX: Final = 64 * 1024 * 1024

_KEYED = "b2"
_SLOW = "scrypt"


class BadCredential(ValueError):
    """A stored credential is no text that this module wrote."""


def hash_generated(password: str, key: bytes) -> str:
    """The stored form of a password that the CSMS made; `key` is `CSMS_PASSWORD_KEY`."""
    salt = os.urandom(SALT_BYTES)
    return f"{_KEYED}${_encode(salt)}${_encode(_keyed(password, salt, key))}"


def hash_chosen(password: str, key: bytes) -> str:
    """The stored form of a password that a person chose; slow."""
    salt = os.urandom(SALT_BYTES)
    digest = _slow(password, salt, key, SCRYPT_N, SCRYPT_R, SCRYPT_P)
    return f"{_SLOW}${SCRYPT_N}${SCRYPT_R}${SCRYPT_P}${_encode(salt)}${_encode(digest)}"


def is_slow(stored: str) -> bool:
    """Whether `verify` takes tens of milliseconds for this stored form and belongs outside the event loop."""
    return stored.startswith(f"{_SLOW}$")


def verify(password: str, stored: str, key: bytes) -> bool:
    """Whether `password` is the one behind `stored`, compared in constant time. Raises BadCredential."""
    try:
        match stored.split("$"):
            case ["b2", salt, digest]:
                return hmac.compare_digest(_keyed(password, _decode(salt), key), _decode(digest))
            case ["scrypt", n, r, p, salt, digest]:
                computed = _slow(password, _decode(salt), key, int(n), int(r), int(p))
                return hmac.compare_digest(computed, _decode(digest))
    except (ValueError, binascii.Error) as error:
        raise BadCredential("stored credential cannot be read") from error
    raise BadCredential("stored credential is of no known kind")


def _keyed(password: str, salt: bytes, key: bytes) -> bytes:
    """BLAKE2b takes keys and salts up to fixed lengths only: the key is hashed first, the salt goes in front."""
    short = hashlib.blake2b(key, digest_size=HASH_BYTES).digest()
    text = salt + password.encode(errors="surrogatepass")
    return hashlib.blake2b(text, digest_size=HASH_BYTES, key=short).digest()


def _slow(password: str, salt: bytes, key: bytes, n: int, r: int, p: int) -> bytes:
    peppered = hmac.digest(key, password.encode(errors="surrogatepass"), hashlib.sha256)
    return hashlib.scrypt(peppered, salt=salt, n=n, r=r, p=p, maxmem=SCRYPT_BYTES_MAX, dklen=HASH_BYTES)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
