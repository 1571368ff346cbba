"""Tables of masked diffusion and its rivals: one network, one budget, rows that differ in a method.

A table is a `Table` (tables.py); what it may cost is planned (plan.py), its cells are trained and
measured (cells.py), and what they say is printed from the record alone (report.py).
"""
