"""Servers that others wrote, made to run here, and tests that the tests may rely on them."""
