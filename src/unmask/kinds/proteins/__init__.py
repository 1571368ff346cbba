"""Proteins: a residue is a token."""
