"""The one loop that runs every service: records in, events committed, replies and commands out.

`step` is the pure part (a record, a view, a clock -> outcomes), `batch` collects what a batch of records changes,
`loop` performs the IO around both; `copies`, `sweep`, `effects` and `publish` are the tasks beside the loop.
"""
