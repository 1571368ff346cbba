"""Discrete data: text, ready token ids and pictures.

`prepare_text` and `prepare_images` write a folder of tokens once; `open_data` reads batches from it.
"""

from unmask.data.folder import Data
from unmask.data.images import ImageData, prepare_images
from unmask.data.opening import open_data
from unmask.data.pixels import Pixels
from unmask.data.text import prepare_text
from unmask.data.tokenizers import Bytes, Characters, Ids, Subwords, load_tokenizer, make_tokenizer
from unmask.data.tokens import TokenData

__all__ = [
    "Bytes",
    "Characters",
    "Data",
    "Ids",
    "ImageData",
    "Pixels",
    "Subwords",
    "TokenData",
    "load_tokenizer",
    "make_tokenizer",
    "open_data",
    "prepare_images",
    "prepare_text",
]
