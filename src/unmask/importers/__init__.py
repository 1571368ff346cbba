"""Models from elsewhere, read without running anything in them: a file for each foreign layout."""
