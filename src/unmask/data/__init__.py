"""Discrete data: text, ready token ids, pictures, tables and proteins.

`prepare_text`, `prepare_images`, `prepare_table` and `prepare_proteins` write a folder of tokens
once; `open_data` reads batches from it.
"""

from unmask.kinds.data import Data
from unmask.kinds.images.data import ImageData
from unmask.kinds.images.pixels import Pixels
from unmask.kinds.images.prepare import prepare_images
from unmask.kinds.proteins.data import ProteinData
from unmask.kinds.proteins.prepare import prepare_proteins
from unmask.kinds.proteins.residues import Residues
from unmask.kinds.registry import load_tokenizer, open_data
from unmask.kinds.samples import Samples
from unmask.kinds.tables.columns import Column, Table
from unmask.kinds.tables.data import TableData
from unmask.kinds.tables.prepare import prepare_table
from unmask.kinds.text.data import TokenData
from unmask.kinds.text.prepare import prepare_text
from unmask.kinds.text.tokenizers import Bytes, Characters, Ids, Subwords, make_tokenizer

__all__ = [
    "Bytes", "Characters", "Column", "Data", "Ids", "ImageData", "Pixels", "ProteinData",
    "Residues", "Samples", "Subwords", "Table", "TableData", "TokenData", "load_tokenizer",
    "make_tokenizer", "open_data", "prepare_images", "prepare_proteins", "prepare_table",
    "prepare_text",
]  # fmt: skip
