"""Pseudonyms of idTokens: what events carry instead of the value."""

import hashlib
import hmac
from functools import lru_cache

from ocppcore.topics import normalise


class Pseudonyms:
    """HMAC-SHA256 under `CSMS_PSEUDONYM_KEY` over type and value, compared as OCPP compares them (C01.FR.25).

    `of(type, value)` gives 32 hexadecimal digits; additionalInfo never enters.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.of = lru_cache(maxsize=1 << 16)(self._of)

    def _of(self, token_type: str, value: str) -> str:
        text = f"{token_type}\x00{normalise(value)}".encode()
        return hmac.digest(self._key, text, hashlib.sha256)[:16].hex()
