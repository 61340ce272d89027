"""What others send over HTTP, read as it comes and no further than so many bytes."""

from collections.abc import AsyncIterable, AsyncIterator


class TooLong(Exception):
    """There is more of it than is read; the text says how much is: `more than 65536 bytes`."""


async def bounded(parts: AsyncIterable[bytes], bytes_max: int) -> AsyncIterator[bytes]:
    """The parts, as they come, while they are at most `bytes_max` in all. Raises TooLong instead of one too many."""
    left = bytes_max
    async for part in parts:
        left -= len(part)
        if left < 0:
            raise TooLong(f"more than {bytes_max} bytes")
        yield part


async def whole(parts: AsyncIterable[bytes], bytes_max: int) -> bytes:
    """All parts together, at most `bytes_max`. Raises TooLong."""
    return b"".join([part async for part in bounded(parts, bytes_max)])
