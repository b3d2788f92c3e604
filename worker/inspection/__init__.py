"""What there is in AWS, and whether it is what the worker needs.

The start of a worker looks at it, and so does the command line; neither knows of the other.
"""
