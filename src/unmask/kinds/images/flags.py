"""The flags of `unmask prepare` that are this kind's own."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class PrepareImages:
    format: Literal["auto", "idx", "cifar10", "npz", "packbits", "folder"] = "auto"
    """auto: by the names and first bytes of the files; packed bits have to be named."""
    labels: str = ""
    """An IDX file of labels, if it is not beside the images under its official name."""
    shape: str = ""
    """Of packed bits: height,width,channels."""
    size: int = 0
    """Of a folder of pictures: crop the middle square out and resize it to so many pixels a side;
    0: all must have one size."""
    channels: Literal[0, 1, 3] = 0
    """Of a folder of pictures: convert to grey (1) or RGB (3), also from 16 bits a value (the upper
    8 are taken), CMYK and palettes; 0: all must be alike, in 8 bits."""
    background: str = ""
    """Of a folder of pictures: the colour to put behind transparent pixels, like white or #ff8800;
    empty: pictures that have some are refused.  An alpha channel that is opaque everywhere is
    dropped."""
    skip_bad: bool = False
    """Of a folder of pictures: leave out those that are damaged, transparent, or unlike the first
    in size or channels, instead of refusing all.  They are counted in meta.json, and the first five
    of each reason named."""
    levels: int = 0
    """Values that a pixel's channel can have, 2 to 256: v becomes v * levels // 256; 0: all 256, or
    the 2 of packed bits."""
    split: str = ""
    """train,validation,test, of a source without a test part: fractions, or numbers of images;
    empty: 0.9,0.05,0.05.  A folder of pictures is cut in an order by the hash of the names.  With a
    test part, the last twentieth of the others is for validation."""
    validation: str = ""
    """Images of their own for validation."""
    test: str = ""
    """Images of their own for the test."""
