"""The part of auth about Local Authorization Lists (D01, D02): rules, marks, and each station's list."""

from collections.abc import Mapping
from typing import Any

from ocppcore.contracts import local_lists as contract
from ocppcore.service import (
    ConnectionHandler,
    Effect,
    EndedHandler,
    Event,
    Fold,
    Part,
    RequestHandler,
    TimerHandler,
)
from services.auth.domain import local_list as rules
from services.auth.domain import local_list_state as state
from services.auth.domain import local_list_sync as syncing
from services.auth.domain import local_list_tables as tables

Effects = Mapping[type[Event], Effect]


def part(effects: Effects | None = None) -> Part:
    """`effects`: the worker that builds messages; None: of a service that only folds."""
    return Part(
        requests=(
            RequestHandler(
                contract.PutListRule.NAME, contract.PutListRule, rules.put, lambda _, key: rules.rule_needs(key)
            ),
            RequestHandler(
                contract.RemoveListRule.NAME,
                contract.RemoveListRule,
                rules.remove,
                lambda _, key: rules.rule_needs(key),
            ),
            RequestHandler(
                contract.SyncLocalList.NAME,
                contract.SyncLocalList,
                syncing.sync,
                lambda _, station: state.list_needs(station),
            ),
            RequestHandler(
                contract.FollowLocalList.NAME,
                contract.FollowLocalList,
                syncing.follow,
                lambda _, station: state.list_needs(station),
            ),
            RequestHandler(contract.LocalListStep.NAME, contract.LocalListStep, syncing.step, syncing.step_needs),
            RequestHandler(
                contract.StationBoot.NAME,
                contract.StationBoot,
                lambda _, view, context: syncing.booted(view, context),
                lambda _, station: state.list_needs(station),
            ),
        ),
        ended=(EndedHandler(syncing.REFERENCE, syncing.ended, lambda _, station: state.list_needs(station)),),
        timers=(
            TimerHandler(state.WAIT, syncing.passed, state.list_needs),
            TimerHandler(state.DUE, syncing.expire, syncing.expire_needs),
        ),
        connections=(ConnectionHandler(syncing.connected, state.list_needs),),
        folds=(
            Fold(contract.ListRuleSet, evolve=rules.evolve_set, project=rules.project_set),
            Fold(contract.ListRuleRemoved, evolve=rules.evolve_removed, project=rules.project_removed),
            *_folds(),
        ),
        aggregates=(rules.Rule, state.StationList, state.ListPage),
        tables=(rules.RULES, rules.TAGS, rules.MARKS, tables.LISTS, tables.SYNCS),
        effects=effects or {},
    )


def _folds() -> tuple[Fold[Any], ...]:
    def fold(event: type[Any], **more: Any) -> Fold[Any]:
        made: dict[str, Any] = {"needs": state.event_needs, "evolve": state.evolve, **more}
        return Fold(event, project=tables.project, project_first=True, **made)

    return (
        fold(contract.LocalListTriggered, evolve=state.evolve_triggered),
        fold(contract.LocalListChecking, derive=syncing.derive_checking),
        fold(contract.LocalListChecked),
        fold(contract.LocalListBuilding),
        fold(contract.LocalListSending),
        fold(contract.LocalListInstalled, needs=state.installed_needs, evolve=state.evolve_installed),
        fold(contract.LocalListDoubted),
        fold(contract.LocalListSynced, evolve=state.evolve_ended),
        fold(contract.LocalListPaused, evolve=state.evolve_ended),
        fold(contract.LocalListSyncExpired, evolve=state.evolve_ended),
    )
