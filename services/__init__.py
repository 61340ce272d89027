"""The gateway and the four domain services. They never import one another; the log is between them."""
