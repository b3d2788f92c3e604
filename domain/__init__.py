"""The business rules: users, commands and events. Imports the standard library only."""
