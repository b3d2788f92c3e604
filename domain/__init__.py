"""The business: users, what may be asked of them, and what then happened. Standard library only."""
