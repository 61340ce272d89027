"""What the transactions service decides, purely: the transaction, its meter readings, remote starts and stops."""
