"""How good synthetic rows are: shapes, pairs, detection, a model of them, the closest records.

Everything works on `rows.Rows`, which a CSV file and a list of columns make.  Definitions and
sources: docs/quality.md.
"""
