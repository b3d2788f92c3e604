"""The Celery process: application, tasks, composition root, transport, telemetry and health."""
