"""Wiring of the transactions service."""

from ocppcore.host import Environment, Hosted, host
from services.transactions import meter_api, reservations_api, service, signed_api
from services.transactions.api import router
from services.transactions.meter_series import SeriesReader
from services.transactions.tariffs_api import router as tariffs_router


def build(env: Environment, master_pass_group: str) -> Hosted:
    """The service in this process; the master-pass group is auth's setting."""
    reader = SeriesReader(env.store("transactions"), env.clock, env.settings.meter_days)
    made = service.build(env.pseudonyms, master_pass_group, reader.roll_up)
    return host(
        env,
        made,
        lambda _, store, desk: [
            router(store, desk, env.pseudonyms),
            reservations_api.router(store, desk, env.pseudonyms),
            meter_api.router(reader, desk),
            signed_api.router(store, desk),
            tariffs_router(store, env.pseudonyms),
        ],
    )
