"""The transactions service as data for the engine."""

from collections.abc import Iterable
from functools import partial
from typing import Final

import msgspec

from ocppcore import standard, topics
from ocppcore.authorization import NO_RULES, Rules
from ocppcore.command_end import Ended
from ocppcore.commands import ask_needs
from ocppcore.contracts import tariffs as contract
from ocppcore.contracts.charge_details import ChargeDetailDue, ChargeDetailMade, MakeChargeDetail, ReRate
from ocppcore.contracts.inquiries import (
    InquiriesResumed,
    InquiryMoved,
    InquiryOpened,
    StationEvidence,
    TransactionGraded,
    TransactionReconciled,
)
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
    TransactionEvent,
    TransactionStarted,
    TransactionUpdated,
)
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import (
    ConnectionHandler,
    Context,
    EndedHandler,
    Fold,
    Need,
    Outcome,
    Part,
    Put,
    RequestHandler,
    Service,
    Timer,
    TimerHandler,
    View,
)
from ocppcore.store import Upsert
from services.transactions import metering_part, reservation_part
from services.transactions.actions import routes
from services.transactions.actions.transaction_event import TransactionEvents
from services.transactions.domain import (
    book,
    charge_detail,
    cost,
    credit,
    fallback,
    grading,
    inquiry,
    open_transactions,
    remote,
    tariff,
    transaction,
)
from services.transactions.domain.cost import Costs
from services.transactions.domain.periods import PERIODS, Periods


def _event_needs(event: TransactionEvent) -> tuple[Need, ...]:
    return (*transaction.needs(event), *book.event_needs(event), *cost.event_needs(event))


def _evolve_event(event: TransactionEvent, view: View) -> Iterable[Put | Timer]:
    yield from transaction.evolve(event, view)
    yield from book.evolve_event(event, view)
    yield from cost.evolve(event, view)


def _project_event(event: TransactionEvent, view: View) -> Iterable[Upsert]:
    yield from transaction.project(event, view)
    yield from book.project_clock(event, view)


def _reconciled_needs(event: TransactionReconciled) -> tuple[Need, ...]:
    return (*transaction.reconciled_needs(event), *book.book_needs(event))


def _evolve_reconciled(event: TransactionReconciled, view: View) -> Iterable[Put | Timer]:
    yield from transaction.evolve_reconciled(event, view)
    yield from book.evolve_reconciled(event, view)


def inquiries(periods: Periods) -> Part:
    """What the CSMS asks stations by itself, and what it concludes (E14)."""

    def due(subject: str, view: View, context: Context) -> Outcome:
        return _waiting(inquiry.due(subject, view, context), periods)

    def ended(body: Ended, view: View, context: Context) -> Outcome:
        return _waiting(inquiry.answered(body, view, context), periods)

    return Part(
        requests=(
            RequestHandler(
                StationEvidence.NAME,
                StationEvidence,
                partial(inquiry.evidence, periods=periods),
                needs=inquiry.evidence_needs,
            ),
        ),
        ended=(EndedHandler(inquiry.REFERENCE, ended, inquiry.ended_needs),),
        timers=(TimerHandler(book.INQUIRE, due, needs=inquiry.due_needs),),
        connections=(ConnectionHandler(partial(inquiry.connected, periods=periods), inquiry.connection_needs),),
        folds=(
            Fold(InquiryOpened, book.book_needs, book.evolve_opened),
            Fold(InquiryMoved, book.book_needs, book.evolve_moved),
            Fold(InquiriesResumed, book.book_needs, book.evolve_resumed),
        ),
    )


def _waiting(outcome: Outcome, periods: Periods) -> Outcome:
    if not outcome.events:
        return outcome
    return msgspec.structs.replace(outcome, events=tuple(grading.waiting(outcome.events, periods.bill_wait)))


CHARGE_DETAILS: Final = Part(
    requests=(
        RequestHandler(
            MakeChargeDetail.NAME, MakeChargeDetail, charge_detail.make, charge_detail.needs, charge_detail.lookups
        ),
        RequestHandler(ReRate.NAME, ReRate, charge_detail.rerate, charge_detail.needs, charge_detail.lookups),
    ),
    timers=(TimerHandler(charge_detail.WAIT, charge_detail.due, charge_detail.due_needs),),
    folds=(
        Fold(ChargeDetailDue, derive=charge_detail.derive_due),
        Fold(
            ChargeDetailMade, charge_detail.made_needs, charge_detail.evolve_made, charge_detail.project_made,
            credit.derive_made,
        ),
    ),
    aggregates=(charge_detail.Charged,),
    tables=(charge_detail.CHARGE_DETAILS,),
)  # fmt: skip
"""What is billed of a transaction."""


def parts(
    pseudonyms: Pseudonyms,
    rules: Rules = NO_RULES,
    costs: Costs = cost.UTC,
    roll_up: metering_part.Roll | None = None,
    periods: Periods = PERIODS,
) -> tuple[Part, ...]:
    """Transactions, remote starts and stops, what is asked after, reservations, meter values over time, tariffs, what
    is billed, what tokens have open."""
    transactions = Part(
        actions=routes(TransactionEvents(pseudonyms, rules, costs, periods)),
        folds=(
            *(
                Fold(kind, _event_needs, _evolve_event, _project_event)
                for kind in (TransactionStarted, TransactionUpdated, TransactionEnded)
            ),
            Fold(TransactionConflict, transaction.needs, transaction.evolve_conflict, transaction.project),
            Fold(MeterValuesReceived),
            Fold(ReservationStatusReported),
            Fold(TransactionReconciled, _reconciled_needs, _evolve_reconciled, transaction.project),
            Fold(TransactionGraded, evolve=charge_detail.evolve_graded, derive=charge_detail.derive_graded),
        ),
        aggregates=(transaction.Transaction, transaction.SeqPage, book.StationBook, cost.Agreement),
        tables=(transaction.TRANSACTIONS, book.STATION_CLOCKS),
        copies=(topics.TOKENS, topics.STATIONS, topics.APIKEYS, topics.TARIFFS),
    )
    costs_due = Part(
        timers=(
            TimerHandler(
                cost.COST_DUE,
                lambda subject, view, at: credit.also_spent(
                    cost.fall_due(costs, subject, view, at), subject, view, costs.credit_step
                ),
                cost.due_needs,
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
                lookups=remote.start_lookups,
            ),
            RequestHandler(
                REMOTE_STOP,
                RemoteStop,
                remote.stop,
                needs=lambda body, station: (*remote.stop_needs(body, station), *ask_needs(body.ask, station)),
            ),
        ),
        # What a start or a stop waits under begins with its station: no prefix of its own.
        ended=(EndedHandler("", remote.command_ended, remote.ended_needs),),
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
    return (
        transactions,
        costs_due,
        remotes,
        inquiries(periods),
        CHARGE_DETAILS,
        tariffs,
        open_transactions.part(),
        credit.part(),
        reservation_part.part(rules),
        metering_part.part(roll_up),
    )


def build(
    pseudonyms: Pseudonyms,
    rules: Rules = NO_RULES,
    costs: Costs = cost.UTC,
    roll_up: metering_part.Roll | None = None,
    periods: Periods = PERIODS,
) -> Service:
    """The whole service; `roll_up` as in `metering_part.part`."""
    return standard.build("transactions", parts(pseudonyms, rules, costs, roll_up, periods))
