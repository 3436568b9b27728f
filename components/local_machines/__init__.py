"""Machines on this host: systemd-nspawn containers that boot, in a network of their own."""
