"""When Python looks for garbage in cycles, in the processes that we start."""

import gc

GC_YOUNG_OBJECTS = 50_000
"""A batch of records makes tens of thousands of objects, nearly all without cycles and gone with the batch: looking at
them every 700 objects (Python's default) takes a sixth of the CPU."""


def collect_garbage_seldom() -> None:
    """What is loaded by now stays; collect the rest when it is worth it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_YOUNG_OBJECTS, 20, 20)
