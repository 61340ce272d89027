"""A change of a station's password (A01), whatever station, network and time do: never neither, never both too long."""

from typing import Literal

from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.given import World
from tests.unit.device import test_rotation as rotation

MINUTE_MS, DAY_MS = 60_000, 86_400_000
ADMITTED_MS = 7 * DAY_MS

Step = tuple[Literal["comes", "goes", "boots", "waits"], int]
ANSWERS = ("Accepted", "RebootRequired", "Rejected", "nothing")
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("comes", "goes", "boots")), st.just(0)),
        st.tuples(st.just("waits"), st.sampled_from((1000, MINUTE_MS, DAY_MS // 2, DAY_MS, 3 * DAY_MS))),
    ),
    max_size=25,
)  # type: ignore[assignment]


class Model:
    """A station that takes the new password at once, at its next boot, or never; as `answer` and `takes` say."""

    def __init__(self, answer: str, takes: bool) -> None:
        self.world = rotation.fresh()
        rotation.register(self.world, factory_credentials=False)
        self.world.connect(epoch=1, profile=1, credential="current")
        self.world.wait(1000)
        self.began, self.epoch, self.connected = self.world.now, 1, True
        rotation.asked(self.world, reboot_ms=DAY_MS, evidence_ms=MINUTE_MS, end_ms=ADMITTED_MS)
        if answer == "nothing":
            for what in ("sending", "timeout"):
                rotation.receipt(self.world, what)
            rotation.settle(self.world)
        else:
            rotation.answer(self.world, answer)
        self.has = rotation.NEW if answer == "Accepted" or (answer == "nothing" and takes) else rotation.OLD
        self.at_boot = rotation.NEW if answer == "RebootRequired" and takes else self.has

    def step(self, what: str, ms: int) -> None:
        if what == "waits":
            self.passes(ms)
        elif what == "goes":
            self.world.connect(epoch=self.epoch, connected=False)
            self.connected = False
        else:
            if what == "boots":
                self.has = self.at_boot
            self.comes(what == "boots")

    def comes(self, boots: bool) -> None:
        """It is let in with what it has, if that is admitted."""
        admitted = rotation.admitted(self.world)
        self.connected = self.has in admitted
        if not self.connected:
            return
        self.epoch += 1
        self.world.connect(epoch=self.epoch, profile=1, credential="current" if admitted[0] == self.has else "next")
        if boots:
            self.world.call("BootNotification", rotation.BOOT, epoch=self.epoch)

    def passes(self, ms: int) -> None:
        """Time, and every timer that falls due in it, in order. A socket that the CSMS closes is gone."""
        until = self.world.now + ms
        while due := sorted((at, timer) for timer, at in self.world.timers.items() if at <= until):
            at, (name, subject) = due[0]
            self.world.wait(max(0, at - self.world.now))
            if any(call.kind == "close" for call in self.world.tick(name, subject).calls):
                self.step("goes", 0)
        self.world.wait(until - self.world.now)


LATE: list[Step] = [("goes", 0), ("waits", 3 * DAY_MS), ("waits", 3 * DAY_MS), ("comes", 0), ("waits", DAY_MS)]
"""It comes back when its boot has been due for days, and has not booted when time is over."""


@example("RebootRequired", True, LATE)
@given(st.sampled_from(ANSWERS), st.booleans(), STEPS)
def test_one_password_always_opens_and_two_never_longer_than_they_may(
    answer: str, takes: bool, steps: list[Step]
) -> None:
    model = Model(answer, takes)
    world: World = model.world
    for what, ms in steps:
        model.step(what, ms)
        first, second = rotation.admitted(world)
        assert first in (rotation.OLD, rotation.NEW), "never neither"
        assert second is None or world.now < model.began + ADMITTED_MS, "never both for longer"
        assert not model.connected or model.has in (first, second), "what it goes on with stays"
    model.passes(ADMITTED_MS)
    assert rotation.admitted(world)[1] is None
    assert rotation.is_over(world)
