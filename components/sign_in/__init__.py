"""The kinds of sign-in: one module for each, and what each gives."""
