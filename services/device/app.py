"""Wiring of the device service."""

import msgspec

from ocppcore.host import Environment, Hosted, host
from ocppcore.http.commands import Registered
from services.device import api, changes_api, security_api, service
from services.device.firmware import FirmwareCheck
from services.device.passwords import Passwords
from services.device.projections import STATIONS
from services.device.settings import Settings, firmware_rules


def build(env: Environment, settings: Settings) -> Hosted:
    """The service in this process; it knows the stations itself. Raises SettingsError for files that cannot be used."""
    store = env.store("device")

    async def registered(station: str) -> Registered | None:
        rows = await store.select(STATIONS, {"station": station}, limit=1)
        return msgspec.json.decode(str(rows[0]["entry"]), type=Registered) if rows else None

    key = env.keys.password
    check = FirmwareCheck(firmware_rules(settings), env.clock)
    passwords = Passwords(key, env.pseudonyms, env.outbound_seal, settings)
    return host(
        env,
        service.build(passwords.effects()),
        lambda engine, store, desk: [
            api.router(store, key),
            changes_api.router(store, desk, passwords, settings, engine.in_force),
            security_api.router(store),
        ],
        registered,
        {"UpdateFirmware": check.doubts},
    )
