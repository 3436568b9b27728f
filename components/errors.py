"""Errors whose text is written for the person who reads it: what, where, why, and the cure."""


class CygnetError(Exception):
    """An error of ours: its message is complete, and needs no traceback to be understood."""
