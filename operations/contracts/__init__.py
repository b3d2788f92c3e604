"""What others build on: schemas and an AsyncAPI document, and what may become of them."""
