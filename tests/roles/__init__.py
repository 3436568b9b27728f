"""Roles on a real machine of this host."""
