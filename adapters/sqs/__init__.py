"""The command queue and its dead-letter queue on SQS."""
