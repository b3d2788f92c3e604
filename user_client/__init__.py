"""What other services import: send commands, learn their outcomes, read users."""
