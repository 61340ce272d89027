"""Simulated stations for demonstrations, tests and load."""
