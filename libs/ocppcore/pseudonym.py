"""Pseudonyms of idTokens: what events carry instead of the value."""

import hashlib
import hmac

from ocppcore.topics import normalise


class Pseudonyms:
    """HMAC-SHA256 under `CSMS_PSEUDONYM_KEY` over type and value; compared as OCPP compares them (C01.FR.25)."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, token_type: str, value: str) -> str:
        """32 hexadecimal digits; additionalInfo never enters."""
        text = f"{token_type}\x00{normalise(value)}".encode()
        return hmac.digest(self._key, text, hashlib.sha256)[:16].hex()
