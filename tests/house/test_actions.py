"""One action, one place: its file carries its name, its owner routes it, a test names it."""

import ast
import re
from pathlib import Path

import pytest

from csms import houses
from ocppcore.actions import ACTIONS, FROM_STATION, OWNER, owned_by, request_type
from ocppcore.settings import Keys
from ocppcore.topics import SERVICES

ROOT = Path(__file__).parents[2]


def snake_case(action: str) -> str:
    """`Get15118EVCertificate` -> `get_15118_ev_certificate`."""
    return "_".join(word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|[0-9]+", action))


def expected(service: str) -> set[str]:
    return {action.name for action in owned_by(service) if action.name in FROM_STATION}


@pytest.mark.parametrize(
    ("action", "name"),
    [
        ("BootNotification", "boot_notification"),
        ("NotifyEVChargingNeeds", "notify_ev_charging_needs"),
        ("Get15118EVCertificate", "get_15118_ev_certificate"),
    ],
)
def test_file_names_follow_from_actions(action: str, name: str) -> None:
    assert snake_case(action) == name


@pytest.mark.parametrize("service", SERVICES)
def test_each_action_from_stations_has_its_file_and_no_file_has_none(service: str) -> None:
    files = {path.stem for path in (ROOT / "services" / service / "actions").glob("*.py")} - {"__init__"}
    assert files == {snake_case(action) for action in expected(service)}


@pytest.mark.parametrize("service", SERVICES)
def test_routes_name_exactly_the_actions_of_the_service(service: str) -> None:
    tree = ast.parse((ROOT / "services" / service / "actions" / "__init__.py").read_bytes())
    named = {
        key.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    assert named == expected(service)


def test_each_action_has_a_test_that_names_it() -> None:
    tests = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)
    )
    assert [name for name in ACTIONS if not re.search(rf"\b({name}(Request)?|{snake_case(name)})\b", tests)] == []


def test_all_services_together_handle_each_action_from_stations_once_and_in_its_owner() -> None:
    """As production assembles them: what the engine finds, not what a file says."""
    handled = [
        (action, service, handler.request)
        for service in SERVICES
        for action, handler in houses.definition(service, Keys(b"p" * 32, b"w" * 32)).actions.items()
    ]
    wanted = [(action, OWNER[action], request_type(action)) for action in FROM_STATION]
    assert sorted(handled, key=str) == sorted(wanted, key=str)


def test_each_action_from_stations_has_a_unit_test_in_its_owners_house() -> None:
    def tests(service: str) -> str:
        return "\n".join(
            path.read_text(encoding="utf-8") for path in (ROOT / "tests/unit" / service).rglob("test_*.py")
        )

    said = {service: tests(service) for service in SERVICES}
    assert [action for action in sorted(FROM_STATION) if f'"{action}"' not in said[OWNER[action]]] == []
