"""Implementations of the ports: DynamoDB, SNS, SQS, memory, and the system clock."""
