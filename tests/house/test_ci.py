"""The rules of CI can fail: a skipped test, a stale lock."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

from scripts.lock import check, read, unmet

ROOT = Path(__file__).parents[2]
HASH = f"    --hash=sha256:{'0' * 64}"


SKIPPED = {
    "call": "def test_it(): pytest.skip('no broker')",
    "marker": "@pytest.mark.skip(reason='no broker')\ndef test_it(): ...",
    "fixture": "@pytest.fixture\ndef broker(): pytest.skip('no broker')\ndef test_it(broker): ...",
    "module": "pytest.skip('no broker', allow_module_level=True)",
    "xfail": "@pytest.mark.xfail(reason='no broker')\ndef test_it(): assert False",
}


def test_every_kind_of_skip_fails_in_ci_with_its_reason(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests/conftest.py", tmp_path)
    for kind, source in SKIPPED.items():
        (tmp_path / f"test_{kind}.py").write_text(f"import pytest\n{source}\n")

    def run(ci: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "pytest", "-rA", "--continue-on-collection-errors", "--rootdir", str(tmp_path)]
        environment = os.environ | {"CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run(
            [*command, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout

    assert run(ci="")[0] == 0
    code, output = run(ci="true")
    assert code != 0
    summary = output.partition("short test summary info")[2]
    for kind in SKIPPED:
        assert re.search(rf"^(FAILED|ERROR) .*test_{kind}.*no broker", summary, re.MULTILINE), kind


def test_lock_files_are_fresh() -> None:
    assert check(ROOT) == []


def test_lock_must_satisfy_every_requirement_on_every_platform() -> None:
    lock, faults = read(f"a==1.0 ; sys_platform == 'linux' \\\n{HASH}\nb==2.0 \\\n{HASH} \\\n{HASH}\n")
    assert faults == []
    assert unmet(lock, [Requirement("B>=2"), Requirement("a; sys_platform == 'linux'")]) == []
    assert unmet(lock, [Requirement("b>=2.1")]) == ["pyproject.toml asks for b>=2.1, the lock has 2.0"]
    assert unmet(lock, [Requirement("a")]) == ["pyproject.toml asks for a, the lock has nothing"]
    assert unmet(lock, [Requirement("c")]) == ["pyproject.toml asks for c, the lock has nothing"]


def test_lock_holds_hashes_and_no_addresses() -> None:
    _, faults = read(f"--index-url https://example.org\na==1.0\nb==1.0 \\\n{HASH}\n")
    assert faults == ["line 1 is no entry, hash or comment: --index-url https://example.org", "a has no hash"]
