"""Where the system on this machine is: true while it runs, and not a moment longer."""

import subprocess
import sys
from pathlib import Path

from csms.running import NAME, Addresses, noted, running

HERE = Addresses(api="http://127.0.0.1:8081", stations="ws://127.0.0.1:9001/ocpp")


def test_addresses_are_known_while_the_system_runs(tmp_path: Path) -> None:
    data = tmp_path / "not there yet"
    assert running(data) is None
    with noted(data, HERE):
        assert running(data) == HERE
        with noted(data, Addresses(api="http://other", stations="ws://other")):
            assert running(data) == HERE, "the first one holds it"
        assert running(data) == HERE
    assert running(data) is None


def test_a_system_that_was_killed_runs_no_more(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\n"
        "from csms.running import Addresses, noted\n"
        "with noted(pathlib.Path(sys.argv[1]), Addresses(api='a', stations='s')): os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60, check=False).returncode == 9
    assert (tmp_path / NAME).read_bytes()
    assert running(tmp_path) is None


def test_a_directory_that_cannot_be_made_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with noted(tmp_path / "file" / "data", HERE):
        assert running(tmp_path / "file" / "data") is None
