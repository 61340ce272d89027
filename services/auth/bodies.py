"""The JSON bodies of the auth API, and what they ask of the service."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    model_validator,
)

from ocppcore.authorization import AuthorizationStatus, Group, Message, TokenState
from ocppcore.contracts.auth import PutApiKey, Scope
from ocppcore.http.reach import PATTERN_CHARACTERS_MAX, PATTERNS_MAX, read_patterns
from ocppcore.topics import normalise
from ocppcore.v201 import ConnectorEnumType
from ocppcore.wire import DateTime

TokenType = Literal["Central", "eMAID", "ISO14443", "ISO15693", "KeyCode", "Local", "MacAddress"]
"""IdTokenEnumType less NoAuthorization, which stands for no token at all."""

IdToken = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,36}$")]
Language = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,5})?$", max_length=8)]
"""An RFC 5646 tag as short as OCPP takes it (C01.FR.17, C04.FR.05): de, en-US."""
StationId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9*\-_=+|@. ]{1,48}$")]
EvseId = Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]{1,512}$")]

Tag = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]

STATIONS_MAX = 1000
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


class TokenBody(_Body):
    """A token: its status is the answer to a station unless it is Accepted, then the rest decides."""

    status: AuthorizationStatus
    groupIdToken: GroupIdToken | None = None
    language1: Language | None = None
    language2: Language | None = None
    personalMessage: PersonalMessage | None = None
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
    tags: Annotated[list[Tag], Field(max_length=TAGS_MAX)] = Field(
        default=[], description="Labels of your own, by which local lists select tokens; compared in any case"
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.language2 is not None:
            if self.language1 is None:
                raise ValueError("language2: only together with language1 (C01.FR.10)")
            if self.language2.casefold() == self.language1.casefold():
                raise ValueError("language2: must differ from language1 (C01.FR.11)")
        if self.validFrom is not None and self.validTo is not None and self.validTo <= self.validFrom:
            raise ValueError("validTo: must be later than validFrom")
        return self

    def state(self, kind: str, sealed: str) -> TokenState:
        """As the service takes it; `sealed`: the value under the driver's key."""
        group, message = self.groupIdToken, self.personalMessage
        return TokenState(
            type=kind,
            status=self.status,
            group=Group(id_token=group.idToken, type=group.type) if group else None,
            language1=self.language1,
            language2=self.language2,
            personal_message=(
                Message(format=message.format, content=message.content, language=message.language) if message else None
            ),
            cache_expiry=_ms(self.cacheExpiryDateTime),
            charging_priority=self.chargingPriority,
            stations=None if self.stations is None else tuple(sorted({normalise(one) for one in self.stations})),
            evses=None if self.evses is None else tuple(sorted(set(self.evses))),
            connector_types=None if self.connectorTypes is None else tuple(sorted(set(self.connectorTypes))),
            valid_from=_ms(self.validFrom),
            valid_to=_ms(self.validTo),
            sealed=sealed,
            tags=tuple(sorted({normalise(one) for one in self.tags})),
        )


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
    cacheExpiryDateTime: str | None
    chargingPriority: int | None
    stations: list[str] | None
    evses: list[int] | None
    connectorTypes: list[str] | None
    validFrom: str | None
    validTo: str | None
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
