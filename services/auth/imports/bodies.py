"""The JSON bodies of the API about imports of tokens."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StringConstraints

from services.auth.imports.job import PARTS_MAX


class _Body(BaseModel):
    """Unknown fields are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class ImportBody(_Body):
    name: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{0,100}$")] = Field(
        default="", description="Of the file, for people"
    )


class FinishBody(_Body):
    parts: Annotated[StrictInt, Field(ge=0, le=PARTS_MAX)] = Field(description="How many there were, from number 0")


class RefusalShown(BaseModel):
    """`line` of the file; `field` "" where the whole line is wrong."""

    line: int
    field: str
    reason: str


class ImportMade(BaseModel):
    id: str


class ImportShown(BaseModel):
    """`lines` of all `parts` that are done: `created` and `replaced` tokens, and refused lines."""

    id: str
    name: str
    state: Literal["open", "finished"]
    parts: int
    lines: int
    created: int
    replaced: int
    refused: int
    startedAt: str
    changedAt: str


class PartShown(BaseModel):
    """What became of a part."""

    part: int
    lines: int
    created: int
    replaced: int
    refused: int


class PartCounted(PartShown):
    """With the first refused lines; all of them are at `/refusals`."""

    refusals: list[RefusalShown] = []
