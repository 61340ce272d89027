"""Firmware is looked at before it is offered to a station (A00.FR.707): what is doubtful becomes a warning in the
command's resource; the command goes out all the same.

The certificate is always judged. The file is fetched, and its signature checked, where its host is one that the
operator has named: within limits of size and time, a few at once, and once for a whole fleet.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
from cryptography import x509

from ocppcore.bounded import TooLong, bounded
from ocppcore.clock import Clock
from ocppcore.settings import SettingsError
from services.device.domain.firmware import SIGNATURE, Offer, examine, fits

AT_ONCE: Final = 2
KEPT_MAX: Final = 100
KEPT_MS: Final = 10 * 60_000
"""How long a file's check counts for further stations."""
LOCATION: Final = "firmware.location"


@dataclass(frozen=True)
class FirmwareRules:
    """`hosts`: from which files are fetched, as `HOST` or `HOST:PORT`. `anchors`: see `domain.firmware.examine`."""

    hosts: frozenset[str] = frozenset()
    anchors: tuple[x509.Certificate, ...] = ()
    bytes_max: int = 256 * 1024 * 1024
    fetch_s: float = 20.0


_Key = tuple[str, bytes, x509.Certificate]


class FirmwareCheck:
    """`doubts` for each UpdateFirmware."""

    def __init__(self, rules: FirmwareRules, clock: Clock) -> None:
        self._rules = rules
        self._clock = clock
        self._places = asyncio.Semaphore(AT_ONCE)
        self._kept: OrderedDict[_Key, tuple[int, asyncio.Task[str]]] = OrderedDict()

    async def doubts(self, payload: bytes) -> Sequence[str]:
        """Warnings about a payload that fits its schema, within `fetch_s`."""
        offer = await asyncio.to_thread(examine, payload, self._rules.anchors, self._clock())
        if offer.certificate is None or offer.signature is None or not self._allowed(offer.location):
            return offer.doubts
        said = await asyncio.shield(self._checked(offer, offer.certificate, offer.signature))
        return (*offer.doubts, said) if said else offer.doubts

    def _allowed(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return False
        return (parts.hostname if port is None else f"{parts.hostname}:{port}") in self._rules.hosts

    def _checked(self, offer: Offer, certificate: x509.Certificate, signature: bytes) -> "asyncio.Task[str]":
        key, now = (offer.location, signature, certificate), self._clock()
        kept = self._kept.get(key)
        if kept is not None and now < kept[0] + KEPT_MS:
            return kept[1]
        task = asyncio.create_task(self._check(key))
        self._kept[key] = (now, task)
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return task

    async def _check(self, key: _Key) -> str:
        """The doubt, "" for none. That the file could not be had is not kept."""
        url, signature, certificate = key
        try:
            async with asyncio.timeout(self._rules.fetch_s), self._places:
                digest = await self._digest(url)
        except TooLong:
            return f"{LOCATION}: longer than {self._rules.bytes_max} bytes, its signature was not checked"
        except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
            self._kept.pop(key, None)
            return f"{LOCATION}: could not be fetched, its signature was not checked: {type(error).__name__}"
        good = fits(certificate, signature, digest)
        return "" if good else f"{SIGNATURE}: not the signature of the file, by this certificate"

    async def _digest(self, url: str) -> bytes:
        digest = hashlib.sha256()
        async with (
            httpx.AsyncClient(timeout=self._rules.fetch_s, follow_redirects=False, trust_env=False) as client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise httpx.HTTPStatusError("not 200", request=response.request, response=response)
            async for part in bounded(response.aiter_raw(), self._rules.bytes_max):
                digest.update(part)
        return digest.digest()


def anchors(places: Sequence[Path]) -> tuple[x509.Certificate, ...]:
    """The certificates in PEM files, or in the `.pem` files of directories. Raises SettingsError."""
    files = [file for place in places for file in (sorted(place.glob("*.pem")) if place.is_dir() else [place])]
    found: list[x509.Certificate] = []
    for file in files:
        try:
            found += x509.load_pem_x509_certificates(file.read_bytes())
        except (OSError, ValueError) as error:
            raise SettingsError(f"CSMS_DEVICE_FIRMWARE_CAS: {file} is no file of PEM certificates: {error}") from None
    return tuple(found)
