"""The use case: process batches of commands, publish their events, and relay what was left.

It knows the domain and the ports that it works with; it knows neither Celery nor AWS.
"""
