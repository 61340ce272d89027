import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocppcore.http.pages import decode, encode
from tests.unit.ocppcore.http.conftest import World


async def test_pages_follow_one_another_to_the_end(world: World) -> None:
    address, seen, pages = "/device/numbers?limit=50&more=x%26y", [], 0
    while address:
        answer = await world.client.get(address)
        assert answer.status_code == 200
        body = answer.json()
        seen += body["items"]
        pages += 1
        if body["next"]:
            assert answer.headers["link"] == f'<{body["next"]}>; rel="next"'
            assert "more=x%26y" in body["next"]
            assert body["next"].startswith("/device/numbers?")
        else:
            assert "link" not in answer.headers
        address = body["next"]
    assert (seen, pages) == (list(range(120)), 3)


async def test_a_page_that_ends_with_the_list_has_no_next(world: World) -> None:
    assert (await world.client.get("/device/numbers?limit=120")).json()["next"] is None


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=1000000000000000000000000000000",
        "limit=-1",
        "limit=x",
        "cursor=",
        "cursor=x",
        "cursor=%C3%A9",
        "cursor=" + "A" * 2001,
        "cursor=" + encode(("text",)),
        "cursor=" + encode((1, 2)),
        "cursor=" + encode((True,)),
        "cursor=" + base64.urlsafe_b64encode(b'{"a": 1}').decode(),
        "cursor=" + base64.urlsafe_b64encode(b"[[1]]").decode(),
        "cursor=" + base64.urlsafe_b64encode(b"[]").decode(),
    ],
)
async def test_a_page_that_cannot_be_is_refused_and_names_what_is_wrong(world: World, query: str) -> None:
    answer = await world.client.get(f"/device/numbers?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == f"query.{query.partition('=')[0]}"


text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), text)


@given(st.lists(scalars, min_size=1, max_size=6))
def test_a_cursor_comes_back_as_it_went(values: list[str | int | bool | None]) -> None:
    assert decode(encode(tuple(values))) == tuple(values)


def test_a_cursor_with_nul_is_none() -> None:
    with pytest.raises(ValueError, match="cursor"):
        decode(encode(("a\0",)))
