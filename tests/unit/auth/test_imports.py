"""Tokens in bulk: what is taken, what is refused and where, and that nothing counts twice."""

import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.auth.imports.job import REFUSALS_MAX
from services.auth.imports.lines import COLUMNS, LINES_MAX
from tests.support.served import Served
from tests.unit.auth.imports_rig import CSV, JSONL, imports

HEADER = ",".join(COLUMNS)


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    async with imports() as made:
        yield made


async def started(api: Served) -> str:
    answer = await api.client.post("/token-imports", json={"name": "tokens.csv"})
    assert answer.status_code == 201
    return f"/token-imports/{answer.json()['id']}"


async def send(api: Served, url: str, text: str, part: int = 0, line: int = 1, kind: Any = None) -> Any:
    return await api.client.put(f"{url}/parts/{part}?line={line}", content=text.encode(), headers=kind or JSONL)


def token(value: str, **fields: object) -> str:
    return json.dumps({"type": "ISO14443", "idToken": value, "status": "Accepted", **fields}) + "\n"


def token_events(api: Served) -> list[str]:
    kinds = [one.headers["ce_type"] for one in api.records("auth.events")]
    return [kind for kind in kinds if kind.startswith("auth.Token") and "Import" not in kind]


async def test_lines_become_tokens_and_are_counted(api: Served) -> None:
    url = await started(api)
    assert (await api.client.put("/tokens/ISO14443/b", json={"status": "Blocked"})).status_code == 201
    answer = await send(api, url, token("a", groupIdToken={"idToken": "G", "type": "Central"}) + token("B"))
    assert answer.status_code == 200
    assert answer.json() == {"part": 0, "lines": 2, "created": 1, "replaced": 1, "refused": 0, "refusals": []}
    assert (await api.client.get("/tokens/ISO14443/b")).json()["status"] == "Accepted"
    assert (await api.client.get("/tokens/ISO14443/a")).json()["groupIdToken"] == {"idToken": "G", "type": "Central"}
    finished = (await api.client.post(f"{url}:finish", json={"parts": 1})).json()
    assert {k: finished[k] for k in ("name", "state", "parts", "lines", "created", "replaced", "refused")} == {
        "name": "tokens.csv", "state": "finished", "parts": 1, "lines": 2, "created": 1, "replaced": 1, "refused": 0,
    }  # fmt: skip
    assert (await send(api, url, token("c"), part=1)).status_code == 409
    assert [one["name"] for one in (await api.client.get("/token-imports")).json()["items"]] == ["tokens.csv"]


async def test_a_part_that_is_sent_again_counts_once(api: Served) -> None:
    url = await started(api)
    first = await send(api, url, token("a"))
    again = await send(api, url, token("a"))
    assert (again.status_code, again.json()) == (200, first.json())
    assert token_events(api) == ["auth.TokenRegistered.v1"]
    other = await send(api, url, token("b"))
    assert other.status_code == 409
    assert (await api.client.get(url)).json()["lines"] == 1


async def test_who_died_before_a_part_was_counted_sends_it_again() -> None:
    """The tokens are there already: decided once, and counted as what they were the first time."""
    async with imports(["gone"]) as api:
        url = await started(api)
        body = token("a") + token("b")
        assert (await send(api, url, body)).status_code == 503
        assert (await api.client.get(url)).json()["lines"] == 0
        again = await send(api, url, body)
        assert (again.json()["created"], again.json()["replaced"]) == (2, 0)
        assert token_events(api) == ["auth.TokenRegistered.v1"] * 2


async def test_refused_lines_are_named_and_the_others_are_taken(api: Served) -> None:
    url = await started(api)
    text = (
        token("a")
        + token("b", status="Good")
        + "\n"
        + "nonsense\n"
        + token("c", colour="red")
        + token("d", stations=["CS-1", "CS-9"])
        + "[1]\n"
        + token("x" * 37)
        + token("e", validFrom="2031-01-01T00:00:00Z", validTo="2030-01-01T00:00:00Z")
    )
    answer = (await send(api, url, text, line=100)).json()
    assert (answer["lines"], answer["created"], answer["refused"]) == (8, 1, 7)
    found = {(one["line"], one["field"]): one["reason"] for one in answer["refusals"]}
    assert found[101, "status"].startswith("Input should be 'Accepted'")
    assert found[103, ""] == "not JSON"
    assert found[104, "colour"] == "Extra inputs are not permitted"
    assert found[105, "stations"] == "not registered: cs-9"
    assert (106, "") in found
    assert found[107, "idToken"].startswith("String should match")
    assert found[108, ""].endswith("validTo: must be later than validFrom")
    listed = (await api.client.get(f"{url}/refusals")).json()["items"]
    assert [(one["line"], one["field"]) for one in listed] == sorted(found)
    assert "x" * 37 not in api.everything()


async def test_csv_has_the_fields_of_the_api(api: Served) -> None:
    url = await started(api)
    cells = {
        "type": "Central", "idToken": "a,b", "status": "Accepted", "groupIdToken": "G", "groupIdTokenType": "Central",
        "language1": "de", "language2": "en", "personalMessage": "two\nlines", "personalMessageFormat": "UTF8",
        "chargingPriority": "-3", "stations": "CS-1", "evses": "2;1", "connectorTypes": "cCCS2;cType2",
        "cacheExpiryDateTime": "2030-01-01T00:00:00Z", "validFrom": "2029-01-01T00:00:00Z",
        "validTo": "2031-01-01T00:00:00Z", "tags": '["x;y","z"]', "personalMessageLanguage": "",
        "concurrentTransactions": "2", "groupConcurrentTransactions": "", "windows": "",
        "personalMessages": '[{"format":"UTF8","content":"x","language":"nl"}]',
        "credit": '{"balance":"5.00","currency":"EUR"}',
    }  # fmt: skip
    row = ",".join('"' + cells[name].replace('"', '""') + '"' for name in COLUMNS)
    text = f"{HEADER}\n{row}\nCentral,b,Wrong{',' * (len(COLUMNS) - 3)}\nCentral,c\n"
    answer = (await send(api, url, text, line=2, kind=CSV)).json()
    assert (answer["lines"], answer["created"], answer["refused"]) == (3, 1, 2)
    assert [(one["line"], one["field"]) for one in answer["refusals"]] == [(4, "status"), (5, "")]
    shown = (await api.client.get("/tokens/Central/a,b")).json()
    assert shown == {
        "idToken": "a,b", "type": "Central", "status": "Accepted",
        "groupIdToken": {"idToken": "G", "type": "Central"}, "language1": "de", "language2": "en",
        "personalMessage": {"format": "UTF8", "content": "two\nlines", "language": None},
        "cacheExpiryDateTime": "2030-01-01T00:00:00.000Z", "chargingPriority": -3, "stations": ["cs-1"],
        "evses": [1, 2], "connectorTypes": ["cCCS2", "cType2"], "validFrom": "2029-01-01T00:00:00.000Z",
        "validTo": "2031-01-01T00:00:00.000Z", "tags": ["x;y", "z"],
        "concurrentTransactions": 2, "groupConcurrentTransactions": None, "windows": None,
        "personalMessages": [{"format": "UTF8", "content": "x", "language": "nl"}],
        "credit": {"balance": "5.00", "currency": "EUR", "limit": "0"},
    }  # fmt: skip


@pytest.mark.parametrize(("format_", "kind"), [("csv", CSV), ("jsonl", JSONL)])
async def test_what_is_exported_can_be_imported_and_is_the_same(
    api: Served, format_: str, kind: dict[str, str]
) -> None:
    url = await started(api)
    full = token(
        "full", groupIdToken={"idToken": "G", "type": "Central"}, stations=["CS-1"], evses=[], tags=["a;b", "[c"],
        language1="de", personalMessage={"format": "UTF8", "content": 'say "hi", ü'}, chargingPriority=0,
        validTo="2031-01-01T00:00:00Z", concurrentTransactions=3, credit={"balance": "1.50", "currency": "EUR"},
        windows=[{"from": "22:00", "to": "06:00", "days": ["Mon"]}],
    )  # fmt: skip
    await send(api, url, full + token("plain") + token("gone"))
    await api.client.delete("/tokens/ISO14443/gone")
    exported = await api.client.get(f"/tokens:export?format={format_}")
    assert exported.headers["content-type"].startswith(kind["Content-Type"])
    before = (await api.client.get("/tokens")).json()["items"]
    answer = (await send(api, await started(api), exported.text, kind=kind)).json()
    assert (answer["lines"], answer["replaced"], answer["refused"]) == (2, 2, 0), answer
    assert (await api.client.get("/tokens")).json()["items"] == before
    events = [one.headers["ce_type"] for one in api.records("auth.events")]
    assert "auth.TokenChanged.v1" not in events, "nothing differed"


async def test_no_cell_of_an_export_is_a_formula_and_it_reads_back_the_same(api: Served) -> None:
    tags = ["=1+1", "x"]
    sent = "".join(
        token(one, groupIdToken={"idToken": one, "type": "Central"}, tags=tags, chargingPriority=-3,
              personalMessage={"format": "UTF8", "content": f"{one}(A1)"})
        for one in ("=CMD", "+1A", "-A", "@SUM", "'=A", "'plain", "-7")
    )  # fmt: skip
    await send(api, await started(api), sent)
    exported = (await api.client.get("/tokens:export?format=csv")).text
    rows = list(csv.DictReader(io.StringIO(exported)))
    assert {row["idToken"] for row in rows} == {"'=CMD", "'+1A", "'-A", "'@SUM", "''=A", "'plain", "-7"}
    assert {(row["tags"], row["chargingPriority"]) for row in rows} == {("'=1+1;x", "-3")}
    before = (await api.client.get("/tokens")).json()["items"]
    answer = (await send(api, await started(api), exported, kind=CSV)).json()
    assert (answer["lines"], answer["replaced"], answer["refused"]) == (7, 7, 0), answer
    assert (await api.client.get("/tokens")).json()["items"] == before


@pytest.mark.parametrize(
    ("text", "kind", "status", "said"),
    [
        ("type,colour\n", CSV, 422, "unknown column 'colour'"),
        ("type,type\n", CSV, 422, "a column is there twice"),
        ('type,idToken\n"Central', CSV, 422, "no CSV"),
        (token("a") * (LINES_MAX + 1), JSONL, 422, f"at most {LINES_MAX} lines"),
        ("x", {"Content-Type": "text/plain"}, 415, "text/csv"),
        ("{}", {"Content-Type": "application/json"}, 415, "text/csv"),
    ],
)
async def test_what_is_no_such_file_is_refused_as_a_whole(
    api: Served, text: str, kind: dict[str, str], status: int, said: str
) -> None:
    url = await started(api)
    answer = await send(api, url, text, kind=kind)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert (await api.client.get(url)).json()["parts"] == 0


async def test_only_these_paths_take_what_is_no_json(api: Served) -> None:
    answer = await api.client.put("/tokens/Central/a", content=b"a,b", headers=CSV)
    assert answer.status_code == 415


async def test_finishing_says_how_many_parts_are_missing(api: Served) -> None:
    url = await started(api)
    await send(api, url, token("a"))
    answer = await api.client.post(f"{url}:finish", json={"parts": 2})
    assert (answer.status_code, answer.json()["detail"]) == (409, "1 of 2 parts are there")
    assert [one["part"] for one in (await api.client.get(f"{url}/parts")).json()["items"]] == [0]


async def test_an_unknown_import_is_not_found(api: Served) -> None:
    url = "/token-imports/" + "0" * 24
    assert (await send(api, url, token("a"))).status_code == 404
    assert (await api.client.get(url)).status_code == 404
    assert (await api.client.post(f"{url}:finish", json={"parts": 0})).status_code == 404
    assert (await api.as_("viewer").post("/token-imports", json={})).status_code == 403
    assert (await api.as_("viewer").get("/tokens:export")).status_code == 403


async def test_refusals_beyond_ten_thousand_are_counted(api: Served) -> None:
    url = await started(api)
    parts = REFUSALS_MAX // LINES_MAX + 1
    for part in range(parts):
        await send(api, url, "x\n" * LINES_MAX, part=part, line=1 + part * LINES_MAX)
    assert (await api.client.get(url)).json()["refused"] == parts * LINES_MAX
    assert len(api.store.tables.rows["token_import_refusals"]) == REFUSALS_MAX
