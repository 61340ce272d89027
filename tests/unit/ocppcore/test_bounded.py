"""Reading with a bound: all of it, or an error as soon as there is too much."""

from collections.abc import AsyncIterator, Iterable

import pytest

from ocppcore.bounded import TooLong, bounded, whole


async def parts(said: Iterable[bytes], taken: list[bytes]) -> AsyncIterator[bytes]:
    for part in said:
        taken.append(part)
        yield part


@pytest.mark.parametrize("said", [(), (b"",), (b"abcd",), (b"ab", b"", b"cd")])
async def test_what_fits_is_read_whole(said: tuple[bytes, ...]) -> None:
    assert await whole(parts(said, []), 4) == b"".join(said)


@pytest.mark.parametrize("said", [(b"abcde",), (b"ab", b"cd", b"e", b"never read")])
async def test_one_byte_too_many_ends_it_there(said: tuple[bytes, ...]) -> None:
    taken: list[bytes] = []
    with pytest.raises(TooLong, match=r"^more than 4 bytes$"):
        await whole(parts(said, taken), 4)
    assert b"never read" not in taken


async def test_what_came_before_is_given_out() -> None:
    found = bounded(parts((b"abc", b"de"), []), 4)
    assert await anext(found) == b"abc"
    with pytest.raises(TooLong):
        await anext(found)
