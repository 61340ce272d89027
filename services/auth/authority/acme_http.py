"""How the ACME client, which blocks a thread, reaches its server: through our own HTTP client on the event loop.

So one deadline ends every request whatever the server does with its bytes, the answer has a limit, redirects are not
followed, nothing but https is asked, and TLS is as for any other authority; the thread only waits.
"""

import asyncio
import concurrent.futures
from collections.abc import Mapping
from io import BytesIO
from typing import Final

import httpx
import requests
from requests.adapters import BaseAdapter

from ocppcore.bounded import TooLong, whole

ANSWER_BYTES_MAX: Final = 262_144
REQUESTS_MAX: Final = 500
"""For one certificate; a client that polls once a second for five minutes stays below."""
GRACE_S: Final = 5.0
_ENDED: Final = (RuntimeError, concurrent.futures.CancelledError)
"""What a request meets when its client was closed: whoever wanted the certificate is gone."""


class Bridge(BaseAdapter):
    """A transport for `requests`, used by one thread at a time, until `deadline` (the loop's time)."""

    def __init__(self, client: httpx.AsyncClient, deadline: float) -> None:
        super().__init__()
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._deadline = deadline
        self._left = REQUESTS_MAX

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: object = None,
        verify: object = True,
        cert: object = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """The answer, whole. Raises requests.ConnectionError, on whatever went wrong."""
        self._left -= 1
        left_s = self._deadline - self._loop.time()
        if self._left < 0 or left_s <= 0 or self._loop.is_closed():
            raise requests.ConnectionError("it takes too long")
        asked = asyncio.run_coroutine_threadsafe(self._ask(request), self._loop)
        try:
            return asked.result(left_s + GRACE_S)
        except TooLong as error:
            raise requests.ConnectionError(f"the server answered {error}") from None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, *_ENDED) as error:
            asked.cancel()
            raise requests.ConnectionError(f"{type(error).__name__} {error}".strip()) from None

    async def _ask(self, request: requests.PreparedRequest) -> requests.Response:
        url = str(request.url)
        if not url.startswith("https://"):
            raise requests.ConnectionError("the server names an address without https")
        if request.body is not None and not isinstance(request.body, str | bytes):
            raise requests.ConnectionError("the client sends a stream, which ACME has none of")
        headers = {name: str(value) for name, value in request.headers.items()} | {"Accept-Encoding": "identity"}
        async with (
            asyncio.timeout_at(self._deadline),
            self._client.stream(str(request.method), url, headers=headers, content=request.body or b"") as answer,
        ):
            found = await whole(answer.aiter_raw(), ANSWER_BYTES_MAX)
        if answer.has_redirect_location:
            raise requests.ConnectionError(f"the server answered {answer.status_code}, elsewhere")
        made = requests.Response()
        made.status_code = answer.status_code
        made.headers.update(answer.headers)
        made.raw = BytesIO(found)
        made.url, made.request, made.reason = url, request, answer.reason_phrase
        return made

    def close(self) -> None:
        """Nothing of its own: the client is the caller's."""
