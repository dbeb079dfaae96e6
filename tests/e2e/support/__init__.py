"""Parties of the end-to-end tests: the proxy, its clients, its backends, and the tools that drive them."""
