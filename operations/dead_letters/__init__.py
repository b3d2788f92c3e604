"""Dead letters: reading, redriving and deleting them."""
