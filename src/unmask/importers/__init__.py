"""Models of other projects, read as models of this package: a file for each layout."""
