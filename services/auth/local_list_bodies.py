"""The JSON bodies of the API about Local Authorization Lists."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StringConstraints, model_validator

from ocppcore.contracts.local_lists import ListRule, Stations, SyncState, Tokens
from ocppcore.pseudonym import Pseudonyms
from ocppcore.topics import normalise
from services.auth.bodies import IdToken, StationId, Tag, TokenType

LABELS_MAX = 100
TOKENS_MAX = 1000
STATIONS_MAX = 1000
EFFECT_S_MAX = 24 * 3600

RuleId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Label = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]
ListState = Literal["synced", "syncing", "waiting", "failed", "unsupported", "off"]


class _Body(BaseModel):
    """Unknown fields are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class RuleStations(_Body):
    """Stations that are any of these: all, at these sites, in these groups, these by id."""

    all: StrictBool = False
    sites: Annotated[list[Label], Field(max_length=LABELS_MAX)] = []
    groups: Annotated[list[Label], Field(max_length=LABELS_MAX)] = []
    ids: Annotated[list[StationId], Field(max_length=STATIONS_MAX)] = []

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.all or self.sites or self.groups or self.ids):
            raise ValueError("names no station: all, sites, groups or ids")
        return self


class NamedToken(_Body):
    type: TokenType
    idToken: IdToken


class RuleTokens(_Body):
    """Tokens that are any of these: all, with these groupIdTokens, with these tags, these one by one."""

    all: StrictBool = False
    groups: Annotated[list[IdToken], Field(max_length=LABELS_MAX)] = []
    tags: Annotated[list[Tag], Field(max_length=LABELS_MAX)] = []
    idTokens: Annotated[list[NamedToken], Field(max_length=TOKENS_MAX)] = []

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.all or self.groups or self.tags or self.idTokens):
            raise ValueError("names no token: all, groups, tags or idTokens")
        return self


class RuleBody(_Body):
    """Stations that it is for have the tokens that it selects in their local lists. Of several rules for a station,
    each adds its tokens."""

    stations: RuleStations
    tokens: RuleTokens
    withRefused: StrictBool = Field(
        default=False, description="List tokens that may not charge there too, with their status"
    )

    def rule(self, id_: str, pseudonyms: Pseudonyms) -> ListRule:
        """As the service takes it."""
        return ListRule(
            id=id_,
            applies_to=Stations(
                all=self.stations.all,
                sites=_labels(self.stations.sites),
                groups=_labels(self.stations.groups),
                ids=_labels(self.stations.ids),
            ),
            selects=Tokens(
                all=self.tokens.all,
                groups=_labels(self.tokens.groups),
                tags=_labels(self.tokens.tags),
                ids=tuple(sorted({pseudonyms.of(one.type, one.idToken) for one in self.tokens.idTokens})),
            ),
            refused=self.withRefused,
        )


class SyncBody(_Body):
    full: StrictBool = Field(default=False, description="Send a full list, whatever the station says that it has")
    effectWithin: Annotated[StrictInt, Field(ge=1, le=EFFECT_S_MAX)] = Field(
        default=600, description="Seconds until the list must be there; it goes on afterwards"
    )


def _labels(given: list[str]) -> tuple[str, ...]:
    return tuple(sorted({normalise(one) for one in given}))


# What the API shows


class RuleTokensShown(BaseModel):
    """`idTokens`: of those named one by one, the registered ones; `unknownIdTokens`: how many are not."""

    all: bool
    groups: list[str]
    tags: list[str]
    idTokens: list[NamedToken]
    unknownIdTokens: int


class RuleShown(BaseModel):
    id: str
    stations: RuleStations
    tokens: RuleTokensShown
    withRefused: bool
    changedAt: str


class RuleWritten(BaseModel):
    id: str


class ListShown(BaseModel):
    """A station's list as far as it is known. `version` null: not known; `entries`: of the part that it has."""

    stationId: str
    state: ListState
    automatic: bool
    version: int | None
    entries: int
    reason: str
    changedAt: str


class SyncShown(BaseModel):
    """`state`: asked, then one end: synced, failed, unsupported, off, no_effect."""

    operationId: str
    stationId: str
    state: SyncState
    version: int | None
    entries: int
    reason: str
    askedAt: str
    changedAt: str
