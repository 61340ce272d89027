"""The key of the account at an ACME server: P-256, kept sealed in auth's database."""

import asyncio
import base64
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from josepy.jwk import JWKEC
from josepy.util import ComparableECKey

from ocppcore.contracts.certificates import EnsureAcmeKey
from ocppcore.seal import Seal
from ocppcore.store import StateKey, Store
from services.auth.authority.port import AuthorityFailed
from services.auth.domain.acme_account import ACME, AcmeKey


@dataclass(frozen=True)
class AccountKey:
    store: Store
    seal: Seal

    def fresh(self) -> EnsureAcmeKey:
        """A new one, to be kept if there is none."""
        key = ec.generate_private_key(ec.SECP256R1())
        thumbprint = _thumbprint(_jwk(key))
        plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        sealed = self.seal.seal(plain, thumbprint.encode())
        return EnsureAcmeKey(key=base64.b64encode(sealed).decode(), thumbprint=thumbprint)

    async def load(self) -> JWKEC:
        """The one that is kept. Raises AuthorityFailed."""
        state = StateKey(AcmeKey.KIND, ACME)
        data = (await self.store.load([state])).get(state)
        if not data:
            raise AuthorityFailed("the account at the ACME server has no key yet", again=True)
        return await asyncio.to_thread(self._open, msgspec.json.decode(data, type=AcmeKey))

    def _open(self, kept: AcmeKey) -> JWKEC:
        try:
            plain = self.seal.open(base64.b64decode(kept.key), kept.thumbprint.encode())
        except InvalidTag:
            raise AuthorityFailed("the ACME account's key is under another CSMS_PASSWORD_KEY", again=True) from None
        key = load_der_private_key(plain, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey), "an account's key is EC"
        return _jwk(key)


def _jwk(key: ec.EllipticCurvePrivateKey) -> JWKEC:
    return JWKEC(key=ComparableECKey(key))


def _thumbprint(key: JWKEC) -> str:
    return base64.urlsafe_b64encode(key.thumbprint()).rstrip(b"=").decode()
