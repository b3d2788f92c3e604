"""Dead letters: list, filter, redrive and delete them."""
