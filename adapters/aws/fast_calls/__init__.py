"""The calls that every batch makes, without the work that botocore repeats for each call.

For the worker's hot path only (`worker.bootstrap`): a fast call bypasses
`BaseClient._make_api_call`, so instrumentation that wraps it would not see the call.
See docs/adr/0012-hot-calls-learn-from-botocore.md for why, and for the figures.
"""

from adapters.aws.fast_calls.call import use_fast_calls

__all__ = ["use_fast_calls"]
