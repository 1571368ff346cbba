"""Text: bytes, characters, subwords, ready ids."""
