"""Rules that give stations their Local Authorization Lists (D01), and the marks by which a change of tokens is seen.

A rule is an aggregate of its own. Tokens and stations are homed in other cells: nobody tells them of each other.
A token's event leaves a mark in one row for each of its labels (its group, its tags, `all`) and its cell; who wants to
know whether a list has changed compares the marks of the labels that its rules name (`fingerprint`).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Final

import msgspec

from ocppcore import topics
from ocppcore.authorization import TokenState
from ocppcore.contracts.auth import TokenChanged, TokenRegistered, TokenRemoved
from ocppcore.contracts.device import StationState
from ocppcore.contracts.local_lists import ListRule, ListRuleRemoved, ListRuleSet, PutListRule, RemoveListRule, Stations
from ocppcore.service import Aggregate, Context, Drop, Need, Outcome, Put, Result, View, problem
from ocppcore.store import Delete, Table, Upsert, Value
from services.auth.domain.token import Token

ALL: Final = "all"
NONE: Final = "none"
"""The fingerprint of an empty list that no rule gives."""

RULES = Table("local_list_rules", {"id": "text", "rule": "jsonb", "changed_at": "bigint"}, ("id",))
"""`rule`: ListRule."""

TAGS = Table("token_tags", {"tag": "text", "token": "text"}, ("tag", "token"))
"""Tokens by tag, in the order of their pseudonyms; by group they are in `tokens`."""

MARKS = Table("token_marks", {"label": "text", "cell": "bigint", "mark": "text"}, ("label", "cell"))
"""The last event of a token with this label, in this cell."""


class Rule(Aggregate, frozen=True, kw_only=True):
    """id = the rule's."""

    KIND: ClassVar[str] = "LocalListRule"
    rule: ListRule


def rule_needs(id_: str) -> Sequence[Need]:
    return ((Rule, id_),)


def put(wanted: PutListRule, view: View, context: Context) -> Outcome:
    """Make or replace a rule: 201, 200."""
    old = view.get(Rule, context.station)
    result = Result(200 if old else 201, {"id": wanted.rule.id})
    if old is not None and old.rule == wanted.rule:
        return Outcome(result=result)
    return Outcome((ListRuleSet(at=context.now, rule=wanted.rule, actor=context.actor),), result=result)


def remove(_: RemoveListRule, view: View, context: Context) -> Outcome:
    """Forget a rule: 204, 404. What it gave to stations is taken off them."""
    if view.get(Rule, context.station) is None:
        return Outcome(result=problem(404, "Unknown rule", "no such rule"))
    return Outcome((ListRuleRemoved(at=context.now, id=context.station, actor=context.actor),), result=Result(204))


def evolve_set(event: ListRuleSet, _: View) -> Iterable[Put]:
    yield Put(event.rule.id, Rule(rule=event.rule))


def evolve_removed(event: ListRuleRemoved, _: View) -> Iterable[Drop]:
    yield Drop(Rule, event.id)


def project_set(event: ListRuleSet, _: View) -> Iterable[Upsert]:
    yield Upsert(RULES, (event.rule.id, msgspec.json.encode(event.rule).decode(), event.at))


def project_removed(event: ListRuleRemoved, _: View) -> Iterable[Delete]:
    yield Delete(RULES, (event.id,))


# What a rule is about


def matches(stations: Stations, key: str, state: StationState) -> bool:
    """Whether a rule for these stations is for this one; `key`: its normalised id."""
    if stations.all or key in stations.ids:
        return True
    return state.site in stations.sites or not set(state.groups).isdisjoint(stations.groups)


def labels(rules: Iterable[ListRule]) -> frozenset[str]:
    """The labels that these rules select tokens by."""
    found: set[str] = set()
    for rule in rules:
        tokens = rule.selects
        found |= {group_label(one) for one in tokens.groups} | {tag_label(one) for one in tokens.tags}
        if tokens.all:
            found.add(ALL)
    return frozenset(found)


def group_label(group: str) -> str:
    return f"group/{group}"


def tag_label(tag: str) -> str:
    return f"tag/{tag}"


def fingerprint(rules: Sequence[ListRule], marks: Mapping[str, str], station: StationState) -> str:
    """Of all that the list of a station is made from, the time apart; `NONE` where no rule is for it.

    `marks`: of the rules' labels, and of tokens that they name one by one (under their pseudonyms).
    """
    if not rules:
        return NONE
    wanted = sorted(labels(rules) | {one for rule in rules for one in rule.selects.ids})
    evses = {evse: sorted(types) for evse, types in station.evse_types.items()}
    limit = station.limits.get("SendLocalList")
    said = (
        [msgspec.json.encode(rule) for rule in sorted(rules, key=lambda one: one.id)],
        [marks.get(label, "") for label in wanted],
        sorted(evses.items()),
        limit.entries if limit else None,
    )
    return hashlib.blake2b(msgspec.json.encode(said), digest_size=12).hexdigest()


# What tokens leave behind


def token_labels(state: TokenState) -> frozenset[str]:
    """By what a rule may select this token."""
    found = {ALL, *(tag_label(one) for one in state.tags)}
    if state.group is not None:
        found.add(group_label(topics.normalise(state.group.id_token)))
    return frozenset(found)


def token_needs(event: TokenRegistered | TokenChanged | TokenRemoved) -> Sequence[Need]:
    return ((Token, event.token),)


def project_token(event: TokenRegistered | TokenChanged | TokenRemoved, view: View) -> Iterable[Upsert | Delete]:
    """Before `evolve`: the labels that the token had are marked too."""
    old = view.get(Token, event.token)
    was = old.state if old else None
    now = None if isinstance(event, TokenRemoved) else event.state
    cell = view.cell_number()
    mark = f"{event.token}/{event.at}/{_digest(now)}"
    both = (token_labels(was) if was else frozenset()) | (token_labels(now) if now else frozenset())
    for label in sorted(both):
        yield Upsert(MARKS, (label, cell, mark))
    had, has = set(was.tags if was else ()), set(now.tags if now else ())
    for tag in sorted(had - has):
        yield Delete(TAGS, (tag, event.token))
    for tag in sorted(has - had):
        yield Upsert(TAGS, (tag, event.token))


def joined_marks(rows: Iterable[Mapping[str, Value]]) -> dict[str, str]:
    """The marks of all cells under one label as one text; rows of `MARKS`."""
    found: dict[str, dict[int, str]] = {}
    for row in rows:
        found.setdefault(str(row["label"]), {})[int(row["cell"] or 0)] = str(row["mark"])
    return {label: ",".join(f"{cell}={cells[cell]}" for cell in sorted(cells)) for label, cells in found.items()}


def _digest(state: TokenState | None) -> str:
    return hashlib.blake2b(msgspec.json.encode(state), digest_size=6).hexdigest()
