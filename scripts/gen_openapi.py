"""Write docs/reference/openapi/<service>.json: every HTTP API as its code describes it. `--check` compares only."""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from csms import houses
from ocppcore.clock import system_clock
from ocppcore.host import Environment
from ocppcore.http.auth import Authenticator, KeyRing
from ocppcore.in_force import InForce
from ocppcore.memory import MemoryLog, MemoryStore
from ocppcore.settings import BaseServiceSettings, Keys

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference" / "openapi"
NO_KEYS = Keys(b"", b"")


async def pages() -> dict[str, bytes]:
    """File name -> content. Nothing is started: the applications are built on the in-memory twins and asked."""
    return {f"{name}.json": page(name, app) for name, app in applications()}


def applications() -> Iterator[tuple[str, FastAPI]]:
    log, settings = MemoryLog(), BaseServiceSettings()
    authenticator = Authenticator(KeyRing(log, settings.partition_count), NO_KEYS.password)
    alone = InForce(log, system_clock, "openapi")
    registry = CollectorRegistry()
    env = Environment(settings, NO_KEYS, log, system_clock, lambda _: MemoryStore(), authenticator, registry, alone)
    for name in houses.HOSTS:
        yield name, houses.build(name, env).app
    yield houses.GATEWAY, houses.build_gateway(env).hosted.app


def page(name: str, app: FastAPI) -> bytes:
    """As it is served at `/{name}/openapi.json`."""
    document = app.openapi() | {"servers": [{"url": f"/{name}"}]}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def kept() -> dict[str, bytes]:
    """File name -> content, of what was written before."""
    return {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}


def main() -> int:
    parser = argparse.ArgumentParser(description="Write docs/reference/openapi from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    check = parser.parse_args().check
    made, there = asyncio.run(pages()), kept()
    stale = sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))
    if check:
        for name in stale:
            print(f"docs/reference/openapi/{name} is stale: run `make gen` and commit it.")
        return bool(stale)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in stale:
        if name in made:
            (FOLDER / name).write_bytes(made[name])
        else:
            (FOLDER / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
