"""The same sums as in the formula, fast: rows and values in tiles, forward and backward in one
pass."""
