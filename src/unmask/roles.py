"""A position of an example has one of four roles.

Draws of masks, the number of units, a loss's denominator and a conditional bound follow from it.
What is absent may depend only on what is known before one samples: a sequence has an end, but a
cell of a table that nobody filled in is unknown, not absent.
"""

ABSENT = 0
"""There is no such place, as beyond the end of a sequence: neither seen nor counted."""
GIVEN = 1
"""Shown and not scored: a context, or a mark of a beginning."""
SCORED = 2
"""Masked now and then, and paid for."""
HOLE = SCORED
"""The same role, by the name it has in an example that is to be filled in: fill it in here."""
UNKNOWN = 3
"""Hidden and not scored: never looked at and never paid for."""
