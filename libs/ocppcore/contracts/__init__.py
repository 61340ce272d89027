"""Events and requests of every service, declared once: what others may read, and how to ask for a write."""
