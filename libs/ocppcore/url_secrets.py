"""Secrets in URLs: user and password before the host, and what signs a URL in its query. Pure.

GetLog, UpdateFirmware and PublishFirmware send stations to where files are; such a URL opens the file for whoever has
it. Known are the signatures of the large stores (AWS Signature Version 4 and 2 and its likes, Azure's SAS, Google's,
CloudFront's), and what others call their tokens.
"""

import re
from typing import Final
from urllib.parse import unquote_plus

_SECRET: Final = re.compile(
    r"x-[a-z]+-(signature|credential|security-token)"  # S3 and its likes, Google Cloud Storage
    r"|(aws|google|oss)?access-?key(-?id)?|googleaccessid|key-pair-id|policy|sig|signature|skoid|sktid"
    r"|(.+[-.])?(token|secret|password|passwd|pwd|passphrase|credentials?|signature)|[a-z]*token|api-?key|auth|hmac"
)
_USERINFO: Final = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.-]*://)[^/?#\s]*@")
_BEGINS: Final = re.compile(r"([?&;])([^=&;?#]{1,100})=")
_REST: Final = re.compile(r"[^&#]*")
_IN_TEXT: Final = re.compile(r"([?&;])([^=&;?#\s\"'<>]{1,100})=([^&;#\s\"'<>\\)\]}]+)")


def hide_in_url(url: str, hidden: str) -> str:
    """The URL with user, password and the values of secret parameters replaced; the parameters' names stay."""
    url = _USERINFO.sub(rf"\1{hidden}@", url)
    made, at = "", 0
    while found := _BEGINS.search(url, at):
        made += url[at : found.end()]
        at = found.end()
        if _is_secret(found[2]):
            made, at = made + hidden, _end(url, at)
    return made + url[at:]


def hide_in_text(text: str, hidden: str) -> str:
    """The text with the values of secret parameters replaced, in whatever URLs are in it."""
    return _IN_TEXT.sub(lambda found: _replaced(found, hidden), text)


def _replaced(found: re.Match[str], hidden: str) -> str:
    return f"{found[1]}{found[2]}={hidden}" if _is_secret(found[2]) else found[0]


def _end(url: str, at: int) -> int:
    rest = _REST.match(url, at)
    assert rest is not None, "it matches nothing too"
    return rest.end()


def _is_secret(name: str) -> bool:
    return _SECRET.fullmatch(unquote_plus(name).strip().casefold().replace("_", "-")) is not None
