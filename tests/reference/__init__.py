"""Slow, obvious twins of the fast code: written to be read, and used as oracles by the tests."""
