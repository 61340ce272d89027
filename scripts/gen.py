"""Run every generator (`scripts/gen_*.py`), in the order of their names; with `--check` they only compare."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent


def main() -> int:
    failed = 0
    for script in sorted(SCRIPTS.glob("gen_*.py")):
        command = [sys.executable, "-m", f"scripts.{script.stem}", *sys.argv[1:]]
        failed |= subprocess.run(command, cwd=SCRIPTS.parent, check=False).returncode
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
