"""Public contracts: schemas, an AsyncAPI document, and rules for compatible changes."""
