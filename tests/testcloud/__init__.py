"""A real OpenStack on this computer, for tests: `python -m tests.testcloud up`."""
