"""The technologies behind the domain's ports: DynamoDB, SNS, SQS, memory, the clock."""
