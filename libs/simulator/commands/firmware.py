"""Firmware (block L) and logs (N01): jobs whose steps are reported, one after the other. Nothing is fetched
or uploaded."""

from typing import TYPE_CHECKING, NamedTuple

from ..frames import Json, milliseconds
from .answer import Answer, book, status

if TYPE_CHECKING:
    from ..station import Station


class Job(NamedTuple):
    """What is under way: which notification, for which request, and the steps (after how many ms, with which
    status)."""

    action: str
    request_id: int
    state: str
    steps: tuple[tuple[int, str], ...]
    location: str = ""

    def payload(self) -> Json:
        payload: Json = {"status": self.state, "requestId": self.request_id}
        if self.state == "Published":
            payload["location"] = [self.location]
        return payload


_IDLE = {
    "log": "LogStatusNotification",
    "firmware": "FirmwareStatusNotification",
    "publish": "PublishFirmwareStatusNotification",
}


def _begin(station: "Station", name: str, job: Job) -> None:
    book(station, "jobs")[name] = job
    station.set_timer(f"job:{name}", 0, job.steps[0][0])


def advance(station: "Station", name: str) -> None:
    """The next step of a job is due."""
    jobs = book(station, "jobs")
    job: Job | None = jobs.get(name)
    if job is None:
        return
    job = job._replace(state=job.steps[0][1], steps=job.steps[1:])
    station.send(job.action, job.payload(), triggered=True)
    if job.state == "InstallRebooting":
        station.boot.reboot("FirmwareUpdate")
    if job.state == "Installed":
        major, _, rest = station.firmware.partition(".")
        station.firmware = f"{int(major) + 1}.{rest}"
    if job.steps:
        jobs[name] = job
        station.set_timer(f"job:{name}", 0, job.steps[0][0])
    else:
        del jobs[name]


def report_job(station: "Station", name: str) -> None:
    """TriggerMessage for the state of a job (F06.FR.14-16)."""
    job: Job | None = book(station, "jobs").get(name)
    payload = {"status": "Idle"} if job is None or not job.state else job.payload()
    station.send(_IDLE[name], payload, triggered=True)


def get_log(station: "Station", request: Json) -> Answer:
    """N01."""
    running = "log" in book(station, "jobs")
    job = Job(
        "LogStatusNotification",
        int(request["requestId"]),
        "",
        ((200, "Uploading"), (station.world(20), "Uploaded")),
    )
    name = f"{request['logType']}-{station.config.station_id}-{station.now}.txt"[:255]
    word = "AcceptedCanceled" if running else "Accepted"
    return Answer({"status": word, "filename": name}, lambda: _begin(station, "log", job))


def update_firmware(station: "Station", request: Json) -> Answer:
    """L01, L02: scheduled if asked for later, verified if signed, installed with a reboot."""
    firmware, request_id = request["firmware"], int(request["requestId"])
    running = "firmware" in book(station, "jobs")
    wait_ms = milliseconds(firmware["retrieveDateTime"]) - station.now
    steps = [(100, "DownloadScheduled"), (wait_ms, "Downloading")] if wait_ms > 0 else [(100, "Downloading")]
    steps.append((station.world(60), "Downloaded"))
    if "signature" in firmware:
        steps.append((station.world(5), "SignatureVerified"))
    if "installDateTime" in firmware and (later := milliseconds(firmware["installDateTime"]) - station.now) > 0:
        steps += [(100, "InstallScheduled"), (later, "Installing")]
    else:
        steps.append((station.world(5), "Installing"))
    steps += [(station.world(30), "InstallRebooting"), (station.world(120) + 20_000, "Installed")]
    job = Job("FirmwareStatusNotification", request_id, "", tuple(steps))
    return status("AcceptedCanceled" if running else "Accepted", then=lambda: _begin(station, "firmware", job))


def publish_firmware(station: "Station", request: Json) -> Answer:
    """L03."""
    checksum = str(request["checksum"])
    location = f"http://{station.config.station_id}.local/{checksum}"[:512]
    states = ("Downloading", "Downloaded", "ChecksumVerified", "Published")
    steps = tuple((station.world(5) + 100, state) for state in states)
    job = Job("PublishFirmwareStatusNotification", int(request["requestId"]), "", steps, location)

    def publish() -> None:
        book(station, "published")[checksum] = location
        _begin(station, "publish", job)

    return status("Accepted", then=publish)


def unpublish_firmware(station: "Station", request: Json) -> Answer:
    """L04."""
    found = book(station, "published").pop(str(request["checksum"]), None)
    return status("NoFirmware" if found is None else "Unpublished")
