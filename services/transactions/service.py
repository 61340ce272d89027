"""The transactions service as data for the engine."""

from ocppcore import standard, topics
from ocppcore.authorization import NO_RULES, Rules
from ocppcore.commands import ENDED, Ended, ask_needs
from ocppcore.contracts import tariffs as contract
from ocppcore.contracts.transactions import (
    REMOTE_START,
    REMOTE_STOP,
    FallbackMessagesAsked,
    MeterValuesReceived,
    RemoteAsked,
    RemoteMoved,
    RemoteStart,
    RemoteStop,
    ReservationStatusReported,
    RunningCostDue,
    TransactionConflict,
    TransactionEnded,
    TransactionStarted,
    TransactionUpdated,
)
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import Fold, Part, RequestHandler, Service, TimerHandler
from services.transactions.actions import routes
from services.transactions.actions.transaction_event import TransactionEvents
from services.transactions.domain import cost, fallback, open_transactions, remote, tariff, transaction
from services.transactions.domain.cost import Costs


def parts(pseudonyms: Pseudonyms, rules: Rules = NO_RULES, costs: Costs = cost.UTC) -> tuple[Part, ...]:
    """Transactions, remote starts and stops, tariffs, what tokens have open."""
    transactions = Part(
        actions=routes(TransactionEvents(pseudonyms, rules, costs)),
        folds=(
            *(
                Fold(
                    kind,
                    lambda event: (*transaction.needs(event), *cost.event_needs(event)),
                    lambda event, view: (*transaction.evolve(event, view), *cost.evolve(event, view)),
                    transaction.project,
                )
                for kind in (TransactionStarted, TransactionUpdated, TransactionEnded)
            ),
            Fold(TransactionConflict, transaction.needs, transaction.evolve_conflict, transaction.project),
            Fold(MeterValuesReceived),
            Fold(ReservationStatusReported),
        ),
        aggregates=(transaction.Transaction, transaction.SeqPage, cost.Agreement),
        tables=(transaction.TRANSACTIONS,),
        copies=(topics.TOKENS, topics.STATIONS, topics.APIKEYS, topics.TARIFFS),
    )
    costs_due = Part(
        timers=(
            TimerHandler(
                cost.COST_DUE, lambda subject, view, at: cost.fall_due(costs, subject, view, at), cost.due_needs
            ),
        ),
        folds=(
            Fold(RunningCostDue, cost.told_needs, cost.evolve_told, derive=cost.derive_told),
            Fold(FallbackMessagesAsked, fallback.event_needs, fallback.evolve, derive=fallback.derive),
        ),
        aggregates=(fallback.Fallback,),
    )
    remotes = Part(
        requests=(
            RequestHandler(
                REMOTE_START,
                RemoteStart,
                remote.start,
                needs=lambda body, station: (*remote.start_needs(body, station), *ask_needs(body.ask, station)),
            ),
            RequestHandler(
                REMOTE_STOP,
                RemoteStop,
                remote.stop,
                needs=lambda body, station: (*remote.stop_needs(body, station), *ask_needs(body.ask, station)),
            ),
            RequestHandler(ENDED, Ended, remote.command_ended, needs=remote.ended_needs),
        ),
        timers=(TimerHandler(remote.WAIT, remote.expire, needs=lambda subject: ((remote.Remote, subject),)),),
        folds=(
            Fold(RemoteAsked, remote.asked_needs, remote.evolve_asked, remote.project_asked),
            Fold(RemoteMoved, remote.moved_needs, remote.evolve_moved, remote.project_moved, project_first=True),
        ),
        aggregates=(remote.Remote,),
        tables=(remote.REMOTE,),
    )
    tariffs = Part(
        requests=(
            RequestHandler(contract.PutTariff.NAME, contract.PutTariff, tariff.put, lambda _, key: tariff.needs(key)),
            RequestHandler(
                contract.AssignTariff.NAME,
                contract.AssignTariff,
                tariff.assign,
                lambda _, key: tariff.needs(key),
                tariff.assign_lookups,
            ),
            RequestHandler(
                contract.RemoveTariff.NAME, contract.RemoveTariff, tariff.remove, lambda _, key: tariff.needs(key)
            ),
        ),
        folds=(
            Fold(
                contract.TariffVersionPut, tariff.event_needs, tariff.evolve_put, tariff.project_put, tariff.derive
            ),
            Fold(
                contract.TariffAssigned, tariff.event_needs, tariff.evolve_assigned, tariff.project_assigned,
                tariff.derive,
            ),
            Fold(
                contract.TariffRemoved, tariff.event_needs, tariff.evolve_removed, tariff.project_removed,
                tariff.derive_removed,
            ),
        ),
        aggregates=(tariff.TariffKept,),
        tables=(tariff.TARIFFS_TABLE, tariff.VERSIONS_TABLE),
        copies=(topics.TARIFFS, topics.STATIONS),
    )  # fmt: skip
    return transactions, costs_due, remotes, tariffs, open_transactions.part()


def build(pseudonyms: Pseudonyms, rules: Rules = NO_RULES, costs: Costs = cost.UTC) -> Service:
    """The whole service."""
    return standard.build("transactions", parts(pseudonyms, rules, costs))
