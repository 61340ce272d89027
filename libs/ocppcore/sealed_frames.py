"""Frames that hold a key code are encrypted on the log (C04.FR.04): a PIN is as good as the card it stands for.

Whether one does is told by its bytes, since a gateway reads no payload: any frame in which `KeyCode` stands, however it
is escaped, malformed or refused ones too. One frame too many costs nothing, so nothing is parsed for it.
"""

import re
from typing import Final

from cryptography.exceptions import InvalidTag

from ocppcore.envelope import SEALED, BadRecord, Frame
from ocppcore.log import Record
from ocppcore.seal import Seal

_KEY_CODE: Final = b"KeyCode"
_ESCAPED: Final = re.compile(rb"\\u00[4-7][0-9A-Fa-f]")
"""An ASCII letter that need not have been escaped: nobody writes it so but to hide it."""


def holds_key_code(frame: bytes) -> bool:
    """Whether an idToken of type KeyCode may be in it."""
    return _KEY_CODE in frame or (b"\\" in frame and _ESCAPED.search(frame) is not None)


def seal_frame(frame: Frame, seal: Seal) -> Frame:
    """The frame as it goes on the log if it holds a key code."""
    return frame._replace(frame=seal.seal(frame.frame, _about(f"{frame.station}/{frame.epoch}/{frame.n}")), sealed=True)


def open_record(record: Record, seal: Seal | None) -> Record:
    """A record of a frames topic with its frame as it was received. Raises BadRecord if it is not of this key."""
    if SEALED not in record.headers:
        return record
    try:
        if seal is None:
            raise InvalidTag
        return record._replace(value=seal.open(record.value, _about(record.headers.get("ce_id", ""))))
    except InvalidTag:
        raise BadRecord(f"{record.topic}/{record.partition}/{record.position}: sealed under another key") from None


def _about(ce_id: str) -> bytes:
    return f"frame {ce_id}".encode()
