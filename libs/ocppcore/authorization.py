"""Whether an idToken may charge (block C): one pure decision over token, station, time and open transactions.

auth makes it on Authorize, transactions on every idToken in a TransactionEvent, both with the copies at hand. What
spans stations (ConcurrentTx, NoCredit) may have changed a moment before: the home of the token sees every start, and
has the later one stopped (`services/transactions/domain/open_transactions.py`).

A refusal that several rules would give is the first of: the forced status, Expired and NotAtThisTime of the token's own
validity, a master pass that starts, the place, the weekly windows, the credit, the transactions that are open already.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec

from ocppcore.topics import normalise
from ocppcore.weekly import Window, contains, until

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
Purpose = Literal["authorize", "start", "other"]
"""Authorize; the event of a transaction that is to start with the token; any other event that names one."""

NO_AUTHORIZATION: Final = "NoAuthorization"
KEY_CODE: Final = "KeyCode"
CENTRAL: Final = "Central"
ENGLISH: Final = "en"
COUNTS_FOR_MS: Final = 7 * 24 * 3600 * 1000
"""How long an open transaction counts against a limit: one whose end was never heard locks nobody out for ever."""


class Group(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A groupIdToken. It names no driver: carried in clear."""

    id_token: str
    type: str


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A personalMessage (MessageContentType)."""

    format: Literal["ASCII", "HTML", "URI", "UTF8"]
    content: str
    language: str | None = None


class Credit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the driver may still spend: `balance` + `limit`, in `currency` (ISO 4217), less what transactions cost that
    are not billed yet. Each charge detail record lowers the balance, each credit raises it."""

    balance: Decimal
    currency: str
    limit: Decimal = Decimal(0)


class OpenTransaction(msgspec.Struct, frozen=True, array_like=True):
    """An open transaction of a token or a group. `transaction`: `station/transactionId`, normalised; `since`: when its
    start was heard (ms). `cost`: what it costs so far, as far as that is known, in the currency of the credit."""

    transaction: str
    since: int
    cost: Decimal = Decimal(0)

    @property
    def station(self) -> str:
        return self.transaction.partition("/")[0]


class Spending(msgspec.Struct, frozen=True, array_like=True):
    """What a transaction costs so far, or in the end, that is not taken from the balance yet: it is not billed."""

    transaction: str
    cost: Decimal
    currency: str


class OpenState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record of `transactions.open` under `token_key` or `group_key`: in the order in which their starts reached the
    home of the token. Kept of those that a limit or a credit concerns. `spending`: of a token with a credit."""

    open: tuple[OpenTransaction, ...] = ()
    spending: tuple[Spending, ...] = ()
    deleted: bool = False


class Held(msgspec.Struct, frozen=True, array_like=True):
    """An open transaction that nobody is authorized for any more; `token`: the pseudonym of the one it started with."""

    transaction: str
    token: str
    evse: int | None = None


class HeldState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record of `transactions.open` under `station_key`: what occupies EVSEs of this station (C01.FR.24)."""

    held: tuple[Held, ...] = ()
    deleted: bool = False


class TokenState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A record of `auth.tokens`; its key is the pseudonym of the idToken (`pseudonym.py`). Times in ms.

    `status` other than Accepted is the answer, whatever the other fields say. `cache_expiry` says how long stations may
    keep the answer, `valid_to` when the token ends. `stations` (normalised ids), `evses`
    (EVSE ids at these stations) and `connector_types` limit where it may charge, `windows` when; None: no limit.
    `concurrent`: how many transactions it may have at a time, `group_concurrent`: its group, for its starts; 0: any
    number, None: as the installation says. `messages`: one of them is chosen by language. `issued`: made by the CSMS
    for one remote start, gone at `valid_to`. `sealed`: the
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
    messages: tuple[Message, ...] = ()
    cache_expiry: int | None = None
    charging_priority: int | None = None
    stations: tuple[str, ...] | None = None
    evses: tuple[int, ...] | None = None
    connector_types: tuple[str, ...] | None = None
    valid_from: int | None = None
    valid_to: int | None = None
    windows: tuple[Window, ...] | None = None
    concurrent: int | None = None
    group_concurrent: int | None = None
    credit: Credit | None = None
    issued: bool = False
    sealed: str = ""
    tags: tuple[str, ...] = ()


class Rules(NamedTuple):
    """What the installation sets: the group whose members stop transactions and start none (C16), how many transactions
    a token and a group may have where the token does not say (0: any number), and the zone of stations without one."""

    master_pass_group: str = ""
    concurrent: int = 0
    group_concurrent: int = 0
    zone: str = "UTC"


NO_RULES: Final = Rules()
NOTHING_OPEN: Final = OpenState()
NOTHING_HELD: Final = HeldState()


class Where(NamedTuple):
    """The place and the moment that the question is about.

    `station` is the normalised id; `evse` None: not known yet. `evse_types`: the connector types of each EVSE of the
    station as registered, empty when nobody registered them: then a limit to connector types cannot be judged.
    `zone`: the station's IANA zone, "": the installation's. `began`: when the energy was to start, by which windows are
    judged, None: `at`.

    `token`: the pseudonym asked about; `transaction`: the key of the transaction whose event it is. `open`,
    `group_open`: the transactions of the token and of its group; `held`: those of the station (C01.FR.24).
    `locked`: too many wrong key codes were entered at this station (C04.FR.06).
    """

    station: str
    at: int
    evse: int | None = None
    evse_types: Mapping[int, frozenset[str]] = {}
    purpose: Purpose = "authorize"
    zone: str = ""
    began: int | None = None
    token: str = ""
    transaction: str = ""
    open: OpenState = NOTHING_OPEN
    group_open: OpenState = NOTHING_OPEN
    held: HeldState = NOTHING_HELD
    locked: bool = False


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


def token_key(pseudonym: str) -> str:
    """The key of a token in `transactions.open`."""
    return f"token:{pseudonym}"


def group_key(pseudonym: str) -> str:
    """The key of a group in `transactions.open`."""
    return f"group:{pseudonym}"


def station_key(station: str) -> str:
    """The key of a station in `transactions.open`."""
    return f"station:{station}"


def decide(token_type: str, token: TokenState | None, where: Where, rules: Rules = NO_RULES) -> IdTokenInfo:
    """The answer about an idToken of this type; `token` None: nobody registered it.

    The group, languages and message are part of every answer about a known token, also of a refusal (C01.FR.06,
    C09.FR.09, C09.FR.12).
    """
    if token_type == NO_AUTHORIZATION:
        return IdTokenInfo(status="Accepted")  # C02.FR.02
    if token_type == KEY_CODE and where.locked and where.purpose == "authorize":
        return IdTokenInfo(status="Invalid")  # C04.FR.06: whether it would be right is not said
    if token is None or token.deleted:
        return IdTokenInfo(status="Invalid" if token_type == KEY_CODE else "Unknown")  # C04.FR.01
    status = _status(token, where, rules)
    evses: tuple[int, ...] = ()
    if status == "Accepted":
        status, evses = _place(token, where)
    if status == "Accepted" and where.purpose != "other":
        status = _charging(token, where, rules)
    if status == "NotAtThisLocation" and token_type == KEY_CODE and token.status == "Accepted":
        status = "Invalid"  # C04.FR.01: a key code that is not valid at this station
    return IdTokenInfo(
        status=status,
        group=token.group,
        language1=token.language1,
        language2=token.language2,
        personal_message=message_of(token) if token.messages else token.personal_message,
        cache_expiry=_cache_expiry(token, status, where, rules),
        charging_priority=token.charging_priority,
        evses=evses if status == "Accepted" else (),
    )


def is_master_pass(token: TokenState | None, master_pass_group: str) -> bool:
    """Whether the token's group is the one whose members may stop transactions and start none (C16)."""
    if token is None or token.group is None or not master_pass_group:
        return False
    return normalise(token.group.id_token) == normalise(master_pass_group)


def limits(token: TokenState, rules: Rules) -> tuple[int, int]:
    """How many transactions the token, and its group, may have at a time; 0: any number."""
    own = rules.concurrent if token.concurrent is None else token.concurrent
    if token.group is None:
        return own, 0
    return own, rules.group_concurrent if token.group_concurrent is None else token.group_concurrent


def is_over(limit: int, open_: OpenState, transaction: str, at: int) -> bool:
    """Whether this transaction is, or would be, one too many: what came first stays, however often it is asked."""
    if not limit:
        return False
    before = 0
    for one in open_.open:
        if one.transaction == transaction:
            return before >= limit
        before += one.since > at - COUNTS_FOR_MS
    return before >= limit


def message_of(token: TokenState) -> Message | None:
    """The message in the driver's first language, else the second, else in English (C01.FR.12), else the first one."""
    for language in (token.language1, token.language2, ENGLISH):
        if language and (found := _in(language, token.messages)):
            return found
    return token.personal_message or next(iter(token.messages), None)


def _in(language: str, messages: Sequence[Message]) -> Message | None:
    """The message in exactly this language, else in a variant of it."""
    wanted = language.casefold()
    spoken = [(message.language.casefold(), message) for message in messages if message.language]
    exact = next((message for tag, message in spoken if tag == wanted), None)
    primary = wanted.partition("-")[0]
    return exact or next((message for tag, message in spoken if tag.partition("-")[0] == primary), None)


def _status(token: TokenState, where: Where, rules: Rules) -> AuthorizationStatus:
    if token.status != "Accepted":
        return token.status
    if token.valid_to is not None and token.valid_to <= where.at:
        return "Expired"
    if token.valid_from is not None and where.at < token.valid_from:
        return "NotAtThisTime"
    if where.purpose == "start" and is_master_pass(token, rules.master_pass_group):
        return "Invalid"  # C16.FR.03
    return "Accepted"


def _charging(token: TokenState, where: Where, rules: Rules) -> AuthorizationStatus:
    """Whether the driver may begin now: not asked about a token that only stops, or goes on."""
    counted = where.open.open or where.group_open.open
    if token.windows is None and token.credit is None and not counted and not where.held.held:
        return "Accepted"
    if is_master_pass(token, rules.master_pass_group):
        return "Accepted"  # it came to stop others' transactions (C16)
    if token.windows is not None:
        began = where.at if where.began is None else where.began
        if not contains(token.windows, began, where.zone or rules.zone):
            return "NotAtThisTime"
    if token.credit is not None and left(token.credit, where.open) <= 0:
        return "NoCredit"
    own, group = limits(token, rules)
    if (own and _concurrent(own, where.open, where)) or (group and _concurrent(group, where.group_open, where)):
        return "ConcurrentTx"
    if where.held.held and where.purpose == "authorize" and _all_held(where):
        return "NotAtThisTime"  # C01.FR.24
    return "Accepted"


def left(credit: Credit, open_: OpenState) -> Decimal:
    """What may still be spent. The one place where running cost lowers it: each transaction that is not billed yet
    brings its own. Another currency is not converted, and does not count."""
    running = sum((one.cost for one in open_.open), Decimal(0))
    unbilled = sum((one.cost for one in open_.spending if one.currency == credit.currency), Decimal(0))
    return credit.balance + credit.limit - running - unbilled


def _concurrent(limit: int, open_: OpenState, where: Where) -> bool:
    """An Authorize at a station where one of them runs may have come to stop it: its start would be judged again."""
    if where.purpose == "authorize" and any(one.station == where.station for one in open_.open):
        return False
    return is_over(limit, open_, where.transaction, where.at)


def _all_held(where: Where) -> bool:
    """Whether no EVSE is left for another driver. An Authorize names none, so that one of several that is still
    occupied refuses nobody; where nobody registered the station's EVSEs, the occupied ones are those that are known."""
    others = [one for one in where.held.held if one.token != where.token]
    if not others or len(others) < len(where.held.held):
        return False  # its own is there: it may have come for that
    occupied = {one.evse for one in others if one.evse is not None}
    return len(others) >= max(1, len(where.evse_types)) or occupied >= where.evse_types.keys() != set()


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


def _cache_expiry(token: TokenState, status: AuthorizationStatus, where: Where, rules: Rules) -> int | None:
    """A station may keep the answer until the token or its window ends, not longer, and never that of an account which
    may be empty the next time.

    What was registered is sent also when it has passed: it is the end of a cache's entry, not of the token, and a
    station that gets it keeps none (C10.FR.13), while without one it would by its AuthCacheLifeTime.
    """
    if token.cache_expiry is None and token.valid_to is None and token.credit is None and token.windows is None:
        return None
    ends = [] if token.cache_expiry is None else [token.cache_expiry]
    if token.valid_to is not None and token.valid_to > where.at:
        ends.append(token.valid_to)
    if status == "Accepted" and token.credit is not None:
        ends.append(where.at)
    elif status == "Accepted" and token.windows is not None:
        end = until(token.windows, where.at, where.zone or rules.zone)
        if end is not None:
            ends.append(end)
    return min(ends, default=None)
