"""The log on Kafka (`ocppcore.log`, by aiokafka), for installations of more than one machine.

A position is an offset. Topics, groups and the log's identity carry the installation's namespace as a prefix.
"""

from ocppcore.kafka.log import KafkaLog

__all__ = ["KafkaLog"]
