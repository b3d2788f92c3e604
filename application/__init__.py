"""The use case: process batches of commands, publish their events, and relay the rest.

The application layer imports the domain and defines the ports it needs; it imports neither Celery
nor the AWS SDK.
"""
