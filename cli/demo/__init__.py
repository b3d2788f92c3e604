"""Samples of `user-worker dev --samples`: commands that end in every kind of outcome."""
