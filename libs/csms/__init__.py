"""The command line, the whole system in one process, and the benchmark."""
