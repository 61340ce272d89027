"""Imports of many tokens: a job that counts. The tokens themselves are asked for one by one (`PutToken`).

No event carries an idToken: a refused line is known by its number.
"""

from typing import ClassVar

import msgspec

from ocppcore.service import Event


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Line of the file (the first is 1), the field that is wrong ("" for the whole line), and why."""

    line: int
    field: str
    reason: str


class StartImport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Key = the import's id."""

    NAME: ClassVar[str] = "auth.StartImport.v1"
    name: str = ""


class CountImportPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a part, once all its tokens are decided. Key = the import's id. `digest`: of its content."""

    NAME: ClassVar[str] = "auth.CountImportPart.v1"
    part: int
    digest: str
    lines: int
    created: int
    replaced: int
    refusals: tuple[Refusal, ...] = ()


class FinishImport(msgspec.Struct, frozen=True, kw_only=True):
    """All `parts` (0 to parts - 1) were sent. Key = the import's id."""

    NAME: ClassVar[str] = "auth.FinishImport.v1"
    parts: int


class ImportEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    import_id: str

    def subject(self) -> str:
        return self.import_id


class TokenImportStarted(ImportEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "auth.TokenImportStarted.v1"
    name: str = ""
    actor: str = ""


class TokenImportCounted(ImportEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A part is done; fields as in `CountImportPart`."""

    TYPE: ClassVar[str] = "auth.TokenImportCounted.v1"
    part: int
    digest: str
    lines: int
    created: int
    replaced: int
    refusals: tuple[Refusal, ...] = ()


class TokenImportFinished(ImportEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "auth.TokenImportFinished.v1"
    actor: str = ""
