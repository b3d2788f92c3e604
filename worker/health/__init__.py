"""Health of the worker: liveness and readiness.

A worker that is not *live* must be restarted. One that is not *ready* waits for AWS, and a restart
would not help. No check calls AWS: the worker reports what its own loops, threads and calls have
seen.
"""
