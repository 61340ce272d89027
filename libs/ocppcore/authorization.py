"""Whether an idToken may charge (block C): one pure decision, made by auth on Authorize, by transactions on its copy.

`decide` answers what the token's own fields can tell. What needs more than that (ConcurrentTx, NoCredit of a running
account) is decided where it is known, or forced as the token's status.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from ocppcore.topics import normalise

AuthorizationStatus = Literal[
    "Accepted",
    "Blocked",
    "ConcurrentTx",
    "Expired",
    "Invalid",
    "NoCredit",
    "NotAllowedTypeEVSE",
    "NotAtThisLocation",
    "NotAtThisTime",
    "Unknown",
]
TokenType = Literal["Central", "eMAID", "ISO14443", "ISO15693", "KeyCode", "Local", "MacAddress", "NoAuthorization"]
NO_AUTHORIZATION: Final = "NoAuthorization"
KEY_CODE: Final = "KeyCode"


class Group(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A groupIdToken. It names no driver: carried in clear."""

    id_token: str
    type: str


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A personalMessage (MessageContentType)."""

    format: Literal["ASCII", "HTML", "URI", "UTF8"]
    content: str
    language: str | None = None


class TokenState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A record of `auth.tokens`; its key is the pseudonym of the idToken (`pseudonym.py`). Times in ms.

    `status` other than Accepted is the answer, whatever the other fields say. `cache_expiry` says how long stations may
    keep the answer, `valid_to` when the token ends. `stations` (normalised ids), `evses`
    (EVSE ids at these stations) and `connector_types` limit where it may charge; None: no limit. `sealed`: the
    idToken as it was spelled, encrypted under the driver's own key (base64). `tags`: the operator's own labels,
    normalised; they decide nothing here.
    """

    type: str
    status: AuthorizationStatus
    deleted: bool = False
    group: Group | None = None
    language1: str | None = None
    language2: str | None = None
    personal_message: Message | None = None
    cache_expiry: int | None = None
    charging_priority: int | None = None
    stations: tuple[str, ...] | None = None
    evses: tuple[int, ...] | None = None
    connector_types: tuple[str, ...] | None = None
    valid_from: int | None = None
    valid_to: int | None = None
    sealed: str = ""
    tags: tuple[str, ...] = ()


class Where(NamedTuple):
    """The place and the moment that the question is about.

    `station` is the normalised id; `evse` None: not known yet. `evse_types`: the connector types of each EVSE of the
    station as registered, empty when nobody registered them: then a limit to connector types cannot be judged.
    `starting`: a transaction is to start with this token, not only an authorization to be looked up.
    """

    station: str
    at: int
    evse: int | None = None
    evse_types: Mapping[int, frozenset[str]] = {}
    starting: bool = False


class IdTokenInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer, as IdTokenInfoType has it. `evses`: only there, empty: anywhere. `cache_expiry` in ms."""

    status: AuthorizationStatus
    group: Group | None = None
    language1: str | None = None
    language2: str | None = None
    personal_message: Message | None = None
    cache_expiry: int | None = None
    charging_priority: int | None = None
    evses: tuple[int, ...] = ()


def decide(token_type: str, token: TokenState | None, where: Where, *, master_pass_group: str = "") -> IdTokenInfo:
    """The answer about an idToken of this type; `token` None: nobody registered it.

    The group, languages and message are part of every answer about a known token, also of a refusal (C01.FR.06,
    C09.FR.09, C09.FR.12).
    """
    if token_type == NO_AUTHORIZATION:
        return IdTokenInfo(status="Accepted")  # C02.FR.02
    if token is None or token.deleted:
        return IdTokenInfo(status="Invalid" if token_type == KEY_CODE else "Unknown")  # C04.FR.01
    status = _status(token, where, master_pass_group)
    evses: tuple[int, ...] = ()
    if status == "Accepted":
        status, evses = _place(token, where)
    if status == "NotAtThisLocation" and token_type == KEY_CODE and token.status == "Accepted":
        status = "Invalid"  # C04.FR.01: a key code that is not valid at this station
    return IdTokenInfo(
        status=status,
        group=token.group,
        language1=token.language1,
        language2=token.language2,
        personal_message=token.personal_message,
        cache_expiry=_cache_expiry(token, where.at),
        charging_priority=token.charging_priority,
        evses=evses,
    )


def is_master_pass(token: TokenState | None, master_pass_group: str) -> bool:
    """Whether the token's group is the one whose members may stop transactions and start none (C16)."""
    if token is None or token.group is None or not master_pass_group:
        return False
    return normalise(token.group.id_token) == normalise(master_pass_group)


def _status(token: TokenState, where: Where, master_pass_group: str) -> AuthorizationStatus:
    if token.status != "Accepted":
        return token.status
    if token.valid_to is not None and token.valid_to <= where.at:
        return "Expired"
    if token.valid_from is not None and where.at < token.valid_from:
        return "NotAtThisTime"
    if where.starting and is_master_pass(token, master_pass_group):
        return "Invalid"  # C16.FR.03
    return "Accepted"


def _place(token: TokenState, where: Where) -> tuple[AuthorizationStatus, tuple[int, ...]]:
    """Whether it may charge there, and on which EVSEs only (C01.FR.18 to C01.FR.22)."""
    if token.stations is not None and where.station not in token.stations:
        return "NotAtThisLocation", ()
    allowed = None if token.evses is None else frozenset(token.evses)
    if allowed is not None and (not allowed or (where.evse is not None and where.evse not in allowed)):
        return "NotAtThisLocation", ()
    fitting = _fitting(token, where)
    if fitting is not None:
        allowed = fitting if allowed is None else allowed & fitting
        if not allowed or (where.evse is not None and where.evse not in allowed):
            return "NotAllowedTypeEVSE", ()
    return "Accepted", () if allowed is None else tuple(sorted(allowed))


def _fitting(token: TokenState, where: Where) -> frozenset[int] | None:
    """The EVSEs with a connector of a type the token may use; None: all of them, or nothing is known of their types."""
    known = {evse: types for evse, types in where.evse_types.items() if types}
    if token.connector_types is None or not known:
        return None
    wanted = frozenset(token.connector_types)
    unknown = where.evse_types.keys() - known.keys()
    fitting = {evse for evse, types in known.items() if types & wanted} | unknown
    return None if fitting == where.evse_types.keys() else frozenset(fitting)


def _cache_expiry(token: TokenState, at: int) -> int | None:
    """A station may keep the answer until the token ends, not longer.

    What was registered is sent also when it has passed: it is the end of a cache's entry, not of the token, and a
    station that gets it keeps none (C10.FR.13), while without one it would by its AuthCacheLifeTime.
    """
    ends = [] if token.cache_expiry is None else [token.cache_expiry]
    if token.valid_to is not None and token.valid_to > at:
        ends.append(token.valid_to)
    return min(ends, default=None)
