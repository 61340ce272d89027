"""The rights of the services' users as an operator gets them."""

import json
import shlex
from itertools import pairwise, product

import pytest
from typer.testing import CliRunner

from csms import cli
from ocppcore.kafka.acls import Acl, acls
from ocppcore.settings import BaseServiceSettings, variables


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables(BaseServiceSettings).values():
        monkeypatch.delenv(name, raising=False)


def shown(*arguments: str) -> str:
    ran = CliRunner().invoke(cli.app, ["acls", *arguments], catch_exceptions=False)
    assert ran.exit_code == 0
    return ran.stdout


def commands(script: str) -> list[list[str]]:
    """As a shell reads them."""
    lines = script.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def said_by(command: list[str]) -> set[Acl]:
    """The rights that a call of `kafka-acls` grants."""
    values: dict[str, list[str]] = {}
    for name, value in pairwise(command):
        values.setdefault(name, []).append(value)
    (principal,) = values["--allow-principal"]
    places = [(kind, name) for kind in ("topic", "group") for name in values.get(f"--{kind}", ())]
    return {Acl(principal, *place, operation) for place, operation in product(places, values["--operation"])}  # type: ignore[arg-type]


def test_commands_grant_what_the_table_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "kafka-1:9092,kafka-2:9092")
    monkeypatch.setenv("CSMS_NAMESPACE", "north")
    found = commands(shown())
    start = ["kafka-acls", "--bootstrap-server", "kafka-1:9092,kafka-2:9092", "--command-config", "admin.properties"]
    assert {tuple(command[:6]) for command in found} == {(*start, "--add")}
    assert set().union(*map(said_by, found)) == set(acls("north", "csms-"))


def test_principals_are_as_the_cluster_knows_them() -> None:
    found = commands(shown("--principal-prefix", "O=Operator, CN="))
    assert {command[command.index("--allow-principal") + 1] for command in found} >= {"User:O=Operator, CN=gateway"}


def test_data_is_the_same() -> None:
    assert [Acl(**one) for one in json.loads(shown("--format", "json"))] == acls("", "csms-")


def test_rights_are_granted_only_where_it_is_said_where() -> None:
    ran = CliRunner().invoke(cli.app, ["acls", "--apply"], catch_exceptions=False)
    assert (ran.exit_code, "KAFKA_BOOTSTRAP_SERVERS is required" in ran.output) == (1, True)
