"""Parts of a service are merged: who is told how a command ended that the service itself asked for."""

from collections.abc import Sequence

import pytest

from ocppcore.command_end import ENDED, Ended
from ocppcore.service import Aggregate, Context, EndedHandler, Need, Outcome, Part, View, assemble, problem
from tests.support.given import World


class Waiting(Aggregate, frozen=True, kw_only=True):
    KIND = "Waiting"


def told(name: str, prefix: str) -> Part:
    """A part that waits for commands with this prefix, looks at an aggregate of its name, and says who it is."""

    def handle(body: Ended, view: View, _: Context) -> Outcome:
        view.get(Waiting, name)  # refused by the view where it was not named
        return Outcome(result=problem(418, name, body.reference))

    def needs(_: Ended, __: str) -> Sequence[Need]:
        return ((Waiting, name),)

    return Part(ended=(EndedHandler(prefix, handle, needs),), aggregates=(Waiting,))


def ended(reference: str) -> Ended:
    return Ended(command_id="c", action="Reset", status="answered", reference=reference)


@pytest.mark.parametrize(
    ("reference", "who"),
    [("lists/1", "lists"), ("lists/of/1", "lists of"), ("renewals/1", "renewals"), ("", None), ("list", None)],
)
def test_a_commands_end_is_told_to_the_part_that_its_reference_names(reference: str, who: str | None) -> None:
    world = World("auth", (told("lists", "lists/"), told("renewals", "renewals/"), told("lists of", "lists/of/")))
    result = world.ask(ENDED, ended(reference), key="cs-1").result
    assert (result and result.body["title"]) == who  # type: ignore[index]


def test_a_part_may_take_what_no_other_prefix_fits() -> None:
    world = World("auth", (told("all others", ""), told("lists", "lists/")))
    titles = [world.ask(ENDED, ended(of), key="cs-1").result for of in ("lists/1", "cs-1/start/1")]
    assert [result and result.body["title"] for result in titles] == ["lists", "all others"]  # type: ignore[index]


def test_two_parts_with_the_same_prefix_are_refused() -> None:
    with pytest.raises(ValueError, match="'lists/' is declared twice"):
        assemble("auth", (told("one", "lists/"), told("other", "lists/")))


def test_a_service_that_asks_for_no_commands_itself_is_told_of_none() -> None:
    assert ENDED not in assemble("auth", (Part(),)).requests
