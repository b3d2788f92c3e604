"""AWS clients, and fast calls for the worker's hot path."""
