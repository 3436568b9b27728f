"""The program of that cluster."""
