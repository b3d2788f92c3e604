"""Migrate all stored items to the current formats, while workers are running."""
