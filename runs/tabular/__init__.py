"""The parts of the benchmark of tabular generators, `runs/tables.py`."""
