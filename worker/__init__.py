"""The Celery worker: transport, batch, relay, messages, settings and command line."""
