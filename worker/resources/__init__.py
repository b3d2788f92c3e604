"""Queues, table and topics in AWS: whether they exist, and differ from the settings."""
