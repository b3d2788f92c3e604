"""The checks of `user-worker doctor`, each of which returns findings."""
