"""docs/reference/openapi says what the code says."""

from scripts.gen_openapi import kept, pages


async def test_the_apis_are_kept_as_they_are() -> None:
    assert kept() == await pages()
