"""What of a command's payload may be shown: idTokens become pseudonyms, secrets are hidden.

A payload that holds either is kept and sent encrypted (`sealed`), and events show the redacted form; any other payload
is kept as it is. Pure but for the nonce of the encryption.
"""

from typing import Any, NamedTuple

import orjson

from ocppcore import rpc
from ocppcore.pseudonym import Pseudonyms
from ocppcore.seal import Seal
from ocppcore.url_secrets import hide_in_url

HIDDEN = "***"
SECRET_FIELDS = frozenset({"apnPassword", "password", "key", "simPin"})
SECRET_VARIABLES = frozenset({"basicauthpassword", "password", "presharedkey"})
PURPOSE = "outbound frames"
"""Of the seal: services and gateways derive the same key from `CSMS_PASSWORD_KEY`."""


class Shown(NamedTuple):
    """`payload`: JSON that events and tools may show; `sealed`: the whole frame encrypted, b"" if nothing is hidden."""

    payload: bytes
    sealed: bytes


def show(command_id: str, action: str, payload: bytes, pseudonyms: Pseudonyms, seal: Seal) -> Shown:
    """Redact a validated payload, and encrypt its frame if that took anything away."""
    plain = orjson.loads(payload)
    redacted = _redact(plain, pseudonyms)
    if redacted == plain:
        return Shown(payload, b"")
    frame = rpc.build_call(command_id, action, payload)
    return Shown(orjson.dumps(redacted), seal.seal(frame, command_id.encode()))


def _redact(value: Any, pseudonyms: Pseudonyms) -> Any:
    if isinstance(value, list):
        return [_redact(item, pseudonyms) for item in value]
    if isinstance(value, str):
        return hide_in_url(value, HIDDEN)
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("idToken"), str) and isinstance(value.get("type"), str):
        shown = {"idToken": pseudonyms.of(value["type"], value["idToken"]), "type": value["type"]}
        return shown | {k: HIDDEN for k in value if k not in shown}
    hides = _names_secret(value)
    return {
        name: HIDDEN
        if name in SECRET_FIELDS or (hides and name == "attributeValue")
        else pseudonyms.of(name, item)
        if name == "customerIdentifier" and isinstance(item, str)
        else _redact(item, pseudonyms)
        for name, item in value.items()
    }


def _names_secret(value: dict[str, Any]) -> bool:
    variable = value.get("variable")
    return isinstance(variable, dict) and str(variable.get("name", "")).casefold() in SECRET_VARIABLES
