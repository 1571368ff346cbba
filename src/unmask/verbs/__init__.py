"""Verbs of the command line that are a file of their own."""
