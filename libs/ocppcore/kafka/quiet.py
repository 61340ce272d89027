"""aiokafka reports an outage at every attempt, thirty lines a second and client: each message passes seldom."""

import logging
from collections import Counter

INTERVAL_S = 10.0
LOGGERS = (
    "aiokafka",
    "aiokafka.conn",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.producer.sender",
)


class Seldom(logging.Filter):
    """Passes a message (its text before the arguments) once per `INTERVAL_S`, and says how many it held back."""

    def __init__(self) -> None:
        super().__init__()
        self._passed_at: dict[str, float] = {}
        self._held_back: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        text = str(record.msg)
        if record.created - self._passed_at.get(text, float("-inf")) < INTERVAL_S:
            self._held_back[text] += 1
            return False
        self._passed_at[text] = record.created
        if held_back := self._held_back.pop(text, 0):
            record.msg = f"{text} [and {held_back} times before]"
        return True


def quieten() -> None:
    """Once per process, however often it is called."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, Seldom) for each in logger.filters):
            logger.addFilter(Seldom())
