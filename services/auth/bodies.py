"""The JSON bodies of the auth API, and what they ask of the service."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
    StringConstraints,
    model_validator,
)

from ocppcore.authorization import AuthorizationStatus, Credit, Group, Message, TokenState
from ocppcore.contracts.auth import PatchToken, PutApiKey, Scope
from ocppcore.http.reach import PATTERN_CHARACTERS_MAX, PATTERNS_MAX, read_patterns
from ocppcore.topics import normalise
from ocppcore.v201 import ConnectorEnumType
from ocppcore.weekly import Window
from ocppcore.wire import DateTime
from services.auth.domain.token import DAYS, unsound

TokenType = Literal["Central", "eMAID", "ISO14443", "ISO15693", "KeyCode", "Local", "MacAddress"]
"""IdTokenEnumType less NoAuthorization, which stands for no token at all."""


def _amount(value: object) -> object:
    """As text, or a number with the digits it was written with: never a binary fraction."""
    if isinstance(value, str | Decimal) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ValueError('an amount is decimal text, such as "12.50"')


IdToken = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,36}$")]
Language = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,5})?$", max_length=8)]
"""An RFC 5646 tag as short as OCPP takes it (C01.FR.17, C04.FR.05): de, en-US."""
StationId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9*\-_=+|@. ]{1,48}$")]
EvseId = Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]{1,512}$")]

Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Amount = Annotated[
    Decimal,
    PlainSerializer(lambda value: format(value, "f"), return_type=str),
    BeforeValidator(_amount),
    Field(max_digits=18, decimal_places=6, description="Decimal text"),
]
TimeOfDay = Annotated[str, StringConstraints(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]
Day = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]

STATIONS_MAX = 1000
MESSAGES_MAX = 20
WINDOWS_MAX = 50
CONCURRENT_MAX = 1000
Tag = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]

TAGS_MAX = 20
EVSES_MAX = 500


class _Body(BaseModel):
    """Unknown fields are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class GroupIdToken(_Body):
    idToken: IdToken
    type: TokenType


class PersonalMessage(_Body):
    """MessageContentType."""

    format: Literal["ASCII", "HTML", "URI", "UTF8"]
    language: Language | None = None
    content: Text

    def message(self) -> Message:
        """As the service takes it."""
        return Message(format=self.format, content=self.content, language=self.language)


class WindowBody(_Body):
    """On these days from `from` until before `to`, in the local time of the station."""

    days: Annotated[list[Day], Field(min_length=1, max_length=7)]
    from_: Annotated[TimeOfDay, Field(alias="from", examples=["08:00"])]
    to: Annotated[TimeOfDay, Field(description="Not later than `from`: on the next day", examples=["18:00", "24:00"])]

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.from_ == "24:00":
            raise ValueError("from: a day begins with 00:00")
        return self

    def window(self) -> Window:
        """As the service takes it."""
        days = tuple(sorted({DAYS.index(day) for day in self.days}))
        return Window(days, _minutes(self.from_), _minutes(self.to))


class CreditBody(_Body):
    """What the driver may still spend: NoCredit once `balance` + `limit` is used up."""

    balance: Amount
    currency: Currency
    limit: Annotated[Amount, Field(ge=0)] = Decimal(0)


class TokenBody(_Body):
    """A token: its status is the answer to a station unless it is Accepted, then the rest decides."""

    status: AuthorizationStatus
    groupIdToken: GroupIdToken | None = None
    language1: Language | None = None
    language2: Language | None = None
    personalMessage: PersonalMessage | None = None
    personalMessages: Annotated[list[PersonalMessage], Field(max_length=MESSAGES_MAX)] = Field(
        default=[], description="One for each language: sent is that in language1, else language2, else English"
    )
    cacheExpiryDateTime: DateTime | None = Field(
        default=None, description="Until then stations may keep the answer; validTo ends the token"
    )
    chargingPriority: Annotated[StrictInt, Field(ge=-9, le=9)] | None = None
    stations: Annotated[list[StationId], Field(max_length=STATIONS_MAX)] | None = Field(
        default=None, description="Only at these; elsewhere NotAtThisLocation"
    )
    evses: Annotated[list[EvseId], Field(max_length=EVSES_MAX)] | None = Field(
        default=None, description="Only on EVSEs with these ids, at the stations where it may charge"
    )
    connectorTypes: Annotated[list[ConnectorEnumType], Field(max_length=EVSES_MAX)] | None = Field(
        default=None, description="Only on EVSEs with such a connector, where registered; else NotAllowedTypeEVSE"
    )
    validFrom: DateTime | None = Field(default=None, description="Before it NotAtThisTime")
    validTo: DateTime | None = Field(default=None, description="From then on Expired")
    windows: Annotated[list[WindowBody], Field(max_length=WINDOWS_MAX)] | None = Field(
        default=None, description="Only then, each week; else NotAtThisTime"
    )
    concurrentTransactions: Annotated[StrictInt, Field(ge=0, le=CONCURRENT_MAX)] | None = Field(
        default=None, description="At a time, else ConcurrentTx; 0: any number, null: as the installation says"
    )
    groupConcurrentTransactions: Annotated[StrictInt, Field(ge=0, le=CONCURRENT_MAX)] | None = Field(
        default=None, description="The same for all of its group together, when this token is to start one more"
    )
    credit: CreditBody | None = Field(default=None, description="null: not asked for")
    tags: Annotated[list[Tag], Field(max_length=TAGS_MAX)] = Field(
        default=[], description="Labels of your own, by which local lists select tokens; compared in any case"
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if fault := unsound(self.state("", "")):
            raise ValueError(fault)
        return self

    def state(self, kind: str, sealed: str) -> TokenState:
        """As the service takes it; `sealed`: the value under the driver's key."""
        group, message, credit = self.groupIdToken, self.personalMessage, self.credit
        return TokenState(
            type=kind,
            status=self.status,
            group=Group(id_token=group.idToken, type=group.type) if group else None,
            language1=self.language1,
            language2=self.language2,
            personal_message=message.message() if message else None,
            messages=tuple(one.message() for one in self.personalMessages),
            cache_expiry=_ms(self.cacheExpiryDateTime),
            charging_priority=self.chargingPriority,
            stations=None if self.stations is None else tuple(sorted({normalise(one) for one in self.stations})),
            evses=None if self.evses is None else tuple(sorted(set(self.evses))),
            connector_types=None if self.connectorTypes is None else tuple(sorted(set(self.connectorTypes))),
            valid_from=_ms(self.validFrom),
            valid_to=_ms(self.validTo),
            windows=None if self.windows is None else tuple(one.window() for one in self.windows),
            concurrent=self.concurrentTransactions,
            group_concurrent=self.groupConcurrentTransactions,
            credit=(Credit(balance=credit.balance, currency=credit.currency, limit=credit.limit) if credit else None),
            sealed=sealed,
            tags=tuple(sorted({normalise(one) for one in self.tags})),
        )


class TokenPatch(TokenBody):
    """Fields of a token to change; what is absent stays, null is the default again."""

    status: AuthorizationStatus = "Accepted"

    @model_validator(mode="after")
    def _sound(self) -> Self:
        return self  # with the fields that stay: the service judges the whole

    def patch(self, kind: str) -> PatchToken:
        """As the service takes it."""
        return PatchToken(
            state=self.state(kind, ""), fields=tuple(FIELDS[name] for name in sorted(self.model_fields_set))
        )


FIELDS = {
    "status": "status",
    "groupIdToken": "group",
    "language1": "language1",
    "language2": "language2",
    "personalMessage": "personal_message",
    "personalMessages": "messages",
    "cacheExpiryDateTime": "cache_expiry",
    "chargingPriority": "charging_priority",
    "stations": "stations",
    "evses": "evses",
    "connectorTypes": "connector_types",
    "validFrom": "valid_from",
    "validTo": "valid_to",
    "windows": "windows",
    "concurrentTransactions": "concurrent",
    "groupConcurrentTransactions": "group_concurrent",
    "credit": "credit",
    "tags": "tags",
}
"""The names of a token's fields on the log, by those in the API."""


def _patterns(given: list[str] | None) -> list[str] | None:
    found = None if given is None else read_patterns(given)
    return None if found is None else list(found)


StationPatterns = Annotated[
    list[Annotated[str, Field(max_length=PATTERN_CHARACTERS_MAX)]] | None,
    Field(
        max_length=PATTERNS_MAX,
        description="Ids of stations, in any case; one that ends in `*` stands for all that begin so. null: all, and "
        "what belongs to no station",
        examples=[["CS-1", "DEPOT-*"]],
    ),
    AfterValidator(_patterns),
]


class NewApiKey(_Body):
    """Who may do what: a viewer reads, an operator also writes and sends commands, an admin also manages keys."""

    scope: Scope
    name: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{0,100}$")] = ""
    stations: StationPatterns = None
    expiresAt: DateTime | None = Field(default=None, description="From then on it opens nothing")

    def put(self, id_: str, hash_: str) -> PutApiKey:
        """As the service takes it."""
        return PutApiKey(
            id=id_,
            hash=hash_,
            scope=self.scope,
            name=self.name,
            stations=None if self.stations is None else tuple(self.stations),
            expires_at=_ms(self.expiresAt),
        )


class ApiKeyPatch(_Body):
    """A disabled key opens nothing until it is enabled again."""

    disabled: StrictBool


def _minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)


# What the API shows


class TokenShown(BaseModel):
    """A token. `idToken` as it was spelled first; null when its driver's key is gone."""

    idToken: str | None
    type: TokenType
    status: AuthorizationStatus
    groupIdToken: GroupIdToken | None
    language1: str | None
    language2: str | None
    personalMessage: PersonalMessage | None
    personalMessages: list[PersonalMessage] = []
    cacheExpiryDateTime: str | None
    chargingPriority: int | None
    stations: list[str] | None
    evses: list[int] | None
    connectorTypes: list[str] | None
    validFrom: str | None
    validTo: str | None
    windows: list[WindowBody] | None = None
    concurrentTransactions: int | None = None
    groupConcurrentTransactions: int | None = None
    credit: CreditBody | None = None
    tags: list[str] = []


class ApiKeyShown(BaseModel):
    id: str
    scope: Scope
    name: str
    stations: list[str] | None
    disabled: bool
    createdAt: str
    expiresAt: str | None


class ApiKeyMade(ApiKeyShown):
    """`key`: the API key itself, shown this once."""

    key: str
