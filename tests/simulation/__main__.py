"""Repeat one seed, or look for a bad one: `python -m tests.simulation SEED [COUNT]`."""

import sys
import time

from tests.simulation.run import run_seed


def main() -> int:
    first, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    began, bad = time.monotonic(), 0
    for seed in range(first, first + count):
        found = run_seed(seed)
        bad += bool(found)
        for violation in found:
            print(f"seed {seed}: {violation}")
    print(f"{count} seeds, {bad} bad, {(time.monotonic() - began) / count:.3f} s each")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
