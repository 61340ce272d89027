"""Lists a page at a time: `limit` and an opaque `cursor` in, `items` and `next` out (and a `Link`, RFC 8288).

A cursor is the sort key of the last item shown, so what is added or removed meanwhile neither repeats nor hides
anything else.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeVar

import orjson
from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, Field

from ocppcore.http.problems import FieldError, Problem

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500
CURSOR_CHARACTERS_MAX: Final = 2000
CURSOR_VALUES_MAX: Final = 6

T = TypeVar("T")
Value = str | int | float | bool | None


class Page(BaseModel, Generic[T]):
    items: list[T]
    next: str | None = Field(None, description="Where the next page is; null on the last one")


class Wanted(NamedTuple):
    """What part of a list is wanted: up to `limit` items after `after` (the sort key's values; None: from the start).

    Ask the store for `limit + 1` to know whether more follow, then make the `page`.
    """

    limit: int
    after: tuple[Value, ...] | None
    request: Request
    response: Response

    def page(self, found: Sequence[T], key: Callable[[T], tuple[Value, ...]]) -> Page[T]:
        """The page of up to `limit + 1` items found; `key` gives an item's sort key, as `after` gets it."""
        if len(found) <= self.limit:
            return Page(items=list(found), next=None)
        items = list(found[: self.limit])
        url = self.request.url.include_query_params(cursor=encode(key(items[-1])))
        address = f"{url.path}?{url.query}"
        self.response.headers["Link"] = f'<{address}>; rel="next"'
        return Page(items=items, next=address)


def encode(values: tuple[Value, ...]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(values)).rstrip(b"=").decode()


def decode(cursor: str) -> tuple[Value, ...]:
    """Raises ValueError for what `encode` did not make."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        values: Any = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (UnicodeEncodeError, binascii.Error, orjson.JSONDecodeError) as error:
        raise ValueError("not a cursor") from error
    scalar = str | int | float | bool | None
    if not isinstance(values, list) or not 0 < len(values) <= CURSOR_VALUES_MAX:
        raise ValueError("not a cursor")
    if not all(isinstance(value, scalar) and "\0" not in str(value) for value in values):
        raise ValueError("not a cursor")
    return tuple(values)


def wanted(*types: type) -> Any:
    """A dependency: `page: Annotated[Wanted, wanted(int, str)]`, with the types of the sort key's values.

    A limit over LIMIT_MAX, and a cursor that did not come from such a list, are refused with 422.
    """

    def ask(
        request: Request,
        response: Response,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Items on a page")] = LIMIT_DEFAULT,
        cursor: Annotated[str | None, Query(max_length=CURSOR_CHARACTERS_MAX, description="From `next`")] = None,
    ) -> Wanted:
        if cursor is None:
            return Wanted(limit, None, request, response)
        try:
            after = decode(cursor)
            if tuple(map(type, after)) != types:
                raise ValueError("a cursor of another list")
        except ValueError as error:
            fault = FieldError("query.cursor", str(error))
            raise Problem(422, f"query.cursor: {error}", title="Invalid request", errors=[fault]) from error
        return Wanted(limit, after, request, response)

    return Depends(ask)
