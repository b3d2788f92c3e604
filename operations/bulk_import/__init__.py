"""Bulk import of users: read rows, check them, and send a command for each."""
