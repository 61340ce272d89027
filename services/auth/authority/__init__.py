"""Authorities that sign certificates for stations (A02.FR.04): a port, four adapters, and the worker between them and
the engine. Everything here does IO, or takes more time than a decision may."""
