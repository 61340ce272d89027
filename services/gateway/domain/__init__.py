"""What a gateway decides, without IO: bytes, records and time in; frames, records and closes out."""
