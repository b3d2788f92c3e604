"""Whether the worker lives, and whether it gets anything done.

Two questions, since they have two answers. A worker that does not *live* has to be restarted; one
that is not *ready* waits for AWS, and a restart would not help. Neither is asked of AWS: the worker
tells what its own loops, threads and calls have met.
"""
