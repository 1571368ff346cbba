"""Discrete data: text, ready token ids, pictures, tables and proteins.

`prepare_text`, `prepare_images`, `prepare_table` and `prepare_proteins` write a folder of tokens once; `open_data` reads batches from it.
"""

from unmask.data.columns import Column, Table
from unmask.data.folder import Data
from unmask.data.images import ImageData, prepare_images
from unmask.data.opening import open_data
from unmask.data.pixels import Pixels
from unmask.data.proteins import ProteinData, prepare_proteins
from unmask.data.residues import Residues
from unmask.data.tables import TableData, prepare_table
from unmask.data.text import prepare_text
from unmask.data.tokenizers import Bytes, Characters, Ids, Subwords, load_tokenizer, make_tokenizer
from unmask.data.tokens import TokenData

__all__ = [
    "Bytes",
    "Characters",
    "Column",
    "Data",
    "Ids",
    "ImageData",
    "Pixels",
    "ProteinData",
    "Residues",
    "Subwords",
    "Table",
    "TableData",
    "TokenData",
    "load_tokenizer",
    "make_tokenizer",
    "open_data",
    "prepare_images",
    "prepare_proteins",
    "prepare_table",
    "prepare_text",
]
