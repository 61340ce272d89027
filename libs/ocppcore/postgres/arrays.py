"""Arrays as statement arguments, made cheap: importing this module is enough.

asyncpg asks of every element of an array whether it is an array itself, by way of two abstract base classes: a third
of the CPU of a commit, in which tens of columns go as arrays. All that we send are lists of plain values. So the
question is put to plain types here; where asyncpg asks in another way, nothing changes but the time it takes.
"""

from asyncpg.protocol import protocol  # type: ignore[import-untyped]

ARRAYS = (list, tuple)
NAMES = {"IterableABC": ARRAYS, "SizedABC": ARRAYS, "MappingABC": dict}

if all(hasattr(protocol, name) for name in NAMES):
    for name, types in NAMES.items():
        setattr(protocol, name, types)
