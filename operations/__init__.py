"""Operator tasks, as functions that return results and print nothing."""
