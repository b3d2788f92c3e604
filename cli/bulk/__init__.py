"""Many users at once: `user-worker import`; and all of one user: `user-worker export`."""
