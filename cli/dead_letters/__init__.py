"""`user-worker dlq`: look at dead letters, send them back, take them away."""
