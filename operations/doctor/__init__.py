"""Checks of `user-worker doctor`; each returns findings."""
