"""The rules of the auth service. Pure."""
