"""Clients for AWS, and fast calls for the hot path of the worker."""
