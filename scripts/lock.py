"""Write the two lock files from pyproject.toml, or (`--check`) judge them without asking any package index.

`requirements.lock` is what the system runs with, `requirements-dev.lock` adds tests and tools. Both name every
package once, with the hashes of its files for every platform and Python that we support, and no address: pip takes
them from whatever index it is set up with, and refuses any other bytes. `uv` resolves for all platforms at once.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = {"requirements.lock": ("build",), "requirements-dev.lock": ("build", "dev")}
SUPPORTED = [
    {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.0", "sys_platform": platform}
    for minor in (11, 12, 13, 14)
    for platform in ("linux", "darwin")
]

_ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\]+?))?(?: \\)?$")
_HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")

Lock = Mapping[str, list[tuple[Version, Marker | None]]]


def read(text: str) -> tuple[Lock, list[str]]:
    """The entries of a lock by canonical name (one a marker), and what is wrong with the file itself."""
    entries: dict[str, list[tuple[Version, Marker | None]]] = {}
    faults: list[str] = []
    hashes: dict[str, int] = {}
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _ENTRY.match(line):
            current = canonicalize_name(match["name"])
            marker = Marker(match["marker"]) if match["marker"] else None
            entries.setdefault(current, []).append((Version(match["version"]), marker))
            hashes.setdefault(current, 0)
        elif _HASH.match(line) and current:
            hashes[current] += 1
        elif line and not line.startswith("#"):
            faults.append(f"line {number} is no entry, hash or comment: {line}")
    faults += [f"{name} has no hash" for name, count in hashes.items() if not count]
    return entries, faults


def unmet(lock: Lock, requirements: Iterable[Requirement]) -> list[str]:
    """The requirements that a supported environment would find missing or unsatisfied in the lock."""
    faults: set[str] = set()
    for requirement in requirements:
        for environment in SUPPORTED:
            if requirement.marker and not requirement.marker.evaluate(environment):
                continue
            locked = [
                version
                for version, marker in lock.get(canonicalize_name(requirement.name), [])
                if marker is None or marker.evaluate(environment)
            ]
            if not any(requirement.specifier.contains(version, prereleases=True) for version in locked):
                found = ", ".join(map(str, locked)) or "nothing"
                faults.add(f"pyproject.toml asks for {requirement}, the lock has {found}")
    return sorted(faults)


def check(root: Path) -> list[str]:
    """Everything that is wrong with the lock files of the checkout at `root`; empty when they are fresh."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    faults = []
    for name, extras in EXTRAS.items():
        lock, wrong = read((root / name).read_text())
        wanted = [*project["dependencies"], *(r for e in extras for r in project["optional-dependencies"][e])]
        faults += [f"{name}: {fault}" for fault in [*wrong, *unmet(lock, map(Requirement, wanted))]]
    return faults


def write(root: Path, upgrade: bool) -> None:
    """Resolve anew; versions already locked stay unless `upgrade`."""
    for name, extras in EXTRAS.items():
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
        command += ["--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
        command += [part for extra in extras for part in ("--extra", extra)]
        # The dev lock holds exactly what the run lock holds, and more.
        command += ["--constraint", "requirements.lock"] if name == "requirements-dev.lock" else []
        command += ["--upgrade"] if upgrade else []
        subprocess.run([*command, "--output-file", name, "pyproject.toml"], cwd=root, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="only judge the files, offline")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that pyproject.toml allows")
    arguments = parser.parse_args()
    if not arguments.check:
        write(ROOT, arguments.upgrade)
    faults = check(ROOT)
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        print("The lock is not fresh: run `.venv/bin/python -m scripts.lock` and commit it.", file=sys.stderr)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
