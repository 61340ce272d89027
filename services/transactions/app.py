"""Wiring of the transactions service."""

from ocppcore.host import Environment, Hosted, host
from services.transactions import service
from services.transactions.api import router
from services.transactions.tariffs_api import router as tariffs_router


def build(env: Environment, master_pass_group: str) -> Hosted:
    """The service in this process; the master-pass group is auth's setting."""
    made = service.build(env.pseudonyms, master_pass_group)
    return host(
        env,
        made,
        lambda _, store, desk: [router(store, desk, env.pseudonyms), tariffs_router(store, env.pseudonyms)],
    )
