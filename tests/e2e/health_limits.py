"""Health limits of a few seconds, for workers whose health is tested."""

LOOP_LIMIT = 2.0
LONGEST_BATCH = 7.0
STALLED_AFTER = 3.0
