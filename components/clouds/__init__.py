"""Machines in an OpenStack cloud: what a stack has there, what it needs, and what is asked beforehand."""
