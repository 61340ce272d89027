"""Kafka's own jars, fetched through Maven into the user's cache, and the Java to run them with."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

VERSION = "4.1.0"
ARTIFACTS = (
    f"org.apache.kafka:kafka_2.13:{VERSION}",
    f"org.apache.kafka:kafka-tools:{VERSION}",
    "org.slf4j:slf4j-simple:1.7.36",
)
JAVA_VERSION_MIN = 17
FETCH_TIMEOUT_S = 600


class BrokerUnavailable(Exception):
    """No broker can be had on this machine; the message says what is missing."""


def find_java() -> str:
    """The `java` to run: that of JAVA_HOME or of the path. Raises BrokerUnavailable when missing or too old."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    if java is None or not Path(java).exists():
        raise BrokerUnavailable(f"Kafka needs Java {JAVA_VERSION_MIN} or newer (or Docker), and there is none")
    asking = [java, "-XX:-UsePerfData", "-version"]  # without it every call leaves a directory in /tmp
    asked = subprocess.run(asking, capture_output=True, text=True, timeout=30, check=False)
    found = re.search(r'version "(\d+)', asked.stderr)
    if found is None or int(found[1]) < JAVA_VERSION_MIN:
        raise BrokerUnavailable(f"Kafka needs Java {JAVA_VERSION_MIN} or newer, {java} is {asked.stderr.strip()}")
    return java


def fetch_jars() -> Path:
    """The directory with the broker's jars, filled through Maven if it is not yet. Raises BrokerUnavailable."""
    cache = user_cache_path("csms") / f"kafka-{VERSION}"
    if cache.exists():
        return cache
    find_java()
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerUnavailable("Kafka's jars are not in the cache, and there is no Maven to fetch them with")
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent, prefix="fetch-") as directory:
        _copy_dependencies(maven, Path(directory))
        try:
            # Complete or absent: whoever comes second finds the directory of the first and drops its own.
            Path(directory, "jars").rename(cache)
        except OSError:
            if not cache.exists():
                raise
    return cache


def _copy_dependencies(maven: str, directory: Path) -> None:
    pom = directory / "pom.xml"
    pom.write_text(_pom())
    command = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
    options = [f"-DoutputDirectory={directory / 'jars'}", "-DincludeScope=runtime"]
    try:
        run = subprocess.run([*command, *options], capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise BrokerUnavailable(f"Maven did not fetch Kafka's jars within {FETCH_TIMEOUT_S} s") from None
    if run.returncode:
        raise BrokerUnavailable(f"Maven could not fetch Kafka's jars:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")


def _pom() -> str:
    dependencies = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>"
        for group, name, version in (artifact.split(":") for artifact in ARTIFACTS)
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>csms</groupId><artifactId>kafka-broker</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )
