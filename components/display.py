"""Pulumi's display, for what takes long in the provider of a resource."""

import io

import pulumi


class Display(io.TextIOBase):
    """Pulumi's display as a text stream: each thing written is a line there."""

    def write(self, text: str, /) -> int:
        """Shows a line."""
        pulumi.log.info(text.rstrip("\n"))
        return len(text)
