"""Wiring of the transactions service."""

from collections.abc import Sequence

from fastapi import APIRouter

from ocppcore.authorization import Rules
from ocppcore.engine.loop import Engine
from ocppcore.host import Environment, Hosted, host
from ocppcore.http.commands import CommandDesk
from ocppcore.store import Store
from services.transactions import meter_api, reservations_api, service, signed_api
from services.transactions.api import router
from services.transactions.central_ids import issuing
from services.transactions.domain.cost import UTC, Costs
from services.transactions.domain.periods import PERIODS, Periods
from services.transactions.meter_series import SeriesReader
from services.transactions.tariffs_api import router as tariffs_router


def build(env: Environment, rules: Rules, costs: Costs = UTC, periods: Periods = PERIODS) -> Hosted:
    """The service in this process; the rules about idTokens are auth's settings."""
    reader = SeriesReader(env.store("transactions"), env.clock, env.settings.meter_days)
    made = service.build(env.pseudonyms, rules, costs, reader.roll_up, periods)
    partitions = env.settings.partition_count

    def routers(engine: Engine, store: Store, desk: CommandDesk) -> Sequence[APIRouter]:
        issue = issuing(env.log, engine.copies, env.clock, env.pseudonyms, partitions)
        return [
            router(store, desk, env.pseudonyms, issue),
            reservations_api.router(store, desk, env.pseudonyms),
            meter_api.router(reader, desk),
            signed_api.router(store, desk),
            tariffs_router(store, env.pseudonyms),
        ]

    return host(env, made, routers)
