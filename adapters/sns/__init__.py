"""The topic of domain events on SNS."""
