"""What operators do, as functions that return results and print nothing."""
