"""The web console: what operators see of the system, and what they may change."""
