"""All checks that are no tests, one after the other: every one runs, and the names of those that failed come last."""

import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PYTHON = sys.executable
CHECKS: dict[str, list[str]] = {
    "format": [str(BIN / "ruff"), "format", "--check", "."],
    "lint": [str(BIN / "ruff"), "check", "."],
    "types": [str(BIN / "mypy"), "libs", "services", "scripts"],
    "imports": [str(BIN / "lint-imports"), "--no-logo"],
    "generated files": [PYTHON, "-m", "scripts.gen", "--check"],
    "requirements": [PYTHON, "-m", "scripts.trace", "--check"],
    "lock": [PYTHON, "-m", "scripts.lock", "--check"],
}


def main() -> int:
    console = Console(highlight=False)
    failed = []
    for name, command in CHECKS.items():
        started = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        verdict = "[red]failed[/]" if done.returncode else "ok"
        console.print(f"{name:>16}  {verdict}  {time.monotonic() - started:.1f} s")
        if done.returncode:
            failed.append(name)
            console.out(done.stdout.rstrip(), done.stderr.rstrip(), sep="\n", style=None)
    console.print(f"Failed: {', '.join(failed)}" if failed else "All checks passed.")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
