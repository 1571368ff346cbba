"""Discrete data: text and ready token ids.

`prepare_text` writes a folder of tokens once; `open_data` reads batches from it.
"""

from unmask.data.text import prepare_text
from unmask.data.tokenizers import Bytes, Characters, Ids, Subwords, load_tokenizer, make_tokenizer
from unmask.data.tokens import TokenData, open_data

__all__ = [
    "Bytes",
    "Characters",
    "Ids",
    "Subwords",
    "TokenData",
    "load_tokenizer",
    "make_tokenizer",
    "open_data",
    "prepare_text",
]
