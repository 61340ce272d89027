"""Wiring of the device service."""

import msgspec

from ocppcore.host import Environment, Hosted, host
from ocppcore.http.commands import Registered
from services.device import service
from services.device.api import router
from services.device.projections import STATIONS


def build(env: Environment) -> Hosted:
    """The service in this process; it knows the stations itself."""
    store = env.store("device")

    async def registered(station: str) -> Registered | None:
        rows = await store.select(STATIONS, {"station": station}, limit=1)
        return msgspec.json.decode(str(rows[0]["entry"]), type=Registered) if rows else None

    return host(env, service.build(), lambda _, store, __: [router(store, env.keys.password)], registered)
