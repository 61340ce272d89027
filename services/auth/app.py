"""Wiring of the auth service."""

from ocppcore.host import Environment, Hosted, host
from services.auth import service
from services.auth.api import router
from services.auth.drivers import Drivers
from services.auth.settings import Settings


def build(env: Environment, settings: Settings) -> Hosted:
    """The service in this process."""
    made = service.build(env.pseudonyms, settings.master_pass_group)
    drivers = Drivers(env.keys.pseudonym)
    return host(env, made, lambda _, store, __: [router(store, env.pseudonyms, drivers, env.keys.password)])
