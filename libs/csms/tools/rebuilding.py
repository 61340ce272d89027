"""`csms rebuild` and `csms recover`, with progress."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from csms.tools.access import Access
from ocppcore.engine.rebuild import StillRunning, rebuild
from ocppcore.engine.recover import adopt_log, load_missing
from ocppcore.log import LogReplaced


async def run_rebuild(access: Access, console: Console, service: str) -> str:
    """Drop the service's projections, build them from its events, return their hash. Raises StillRunning."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with access.store(service) as store:
        if await store.owned():
            raise StillRunning(f"{service} is running; stop it, then rebuild")
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(f"{service}: events folded", total=None)

            def advance(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            return await rebuild(access.service(service), access.log, store, access.partitions, advance)


async def run_recover(access: Access, console: Console, service: str, *, adopt: bool) -> None:
    """Load events that the topic has and the database lacks; with `adopt`, take a new log as the service's own.

    Raises StillRunning; LogReplaced, with what can be done, for another log without `adopt`. A rebuild follows, so that
    the projections know of what was loaded.
    """
    definition = access.service(service)
    async with access.store(service) as store:
        await store.prepare([*definition.tables.values()], definition.streams, definition.copies)
        if await store.owned():
            raise StillRunning(f"{service} is running; stop it, then recover")
        identity = await access.log.identity()
        noted = await store.log_identity(identity)
        if noted != identity and not adopt:
            raise LogReplaced(
                f"the database of {service} knows log {noted}, this is {identity}.\n"
                "If the old log is lost for good, run the same command with --new-log: inputs are read from this log's "
                "start and all events that the database holds are published to it again.\n"
                "If it is not lost, point KAFKA_BOOTSTRAP_SERVERS or DATABASE_URL at it."
            )
        if noted != identity:
            await adopt_log(definition, access.log, store, access.partitions)
            console.print(f"{service}: this log is its own now; its events are published when it starts.")
            return
        loaded = await load_missing(definition, access.log, store, access.partitions)
    console.print(f"{service}: {loaded} events loaded that the database lacked.")
    if loaded:
        console.print(f"{service}: {await run_rebuild(access, console, service)}")
