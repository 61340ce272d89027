"""The rules of the device service. Pure."""
