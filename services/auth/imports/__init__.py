"""Tokens in bulk: imports in parts, with a job that counts, and exports."""
