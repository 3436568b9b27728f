"""Errors whose text is written for the person who reads it: what, where, why, and the cure."""

import pulumi


class CygnetError(pulumi.RunError):
    """An error of ours: its message is complete, and neither Pulumi nor `cygnet` shows a traceback with it."""
