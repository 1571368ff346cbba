"""Tensors from the files of `torch.save`, of which nothing runs.

Such a file is a zip archive: one pickle, and the bytes of every storage.  Pickles can call whatever
they name.  Here they are given three things that are needed, `OrderedDict`, PyTorch's types of
storage and a function that notes where a tensor lies, and for every other name an inert stand-in,
which keeps what it is called with.  Tensors are read when they are asked for.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.arrays import check_ratio, reading
from unmask.files import check_file

DTYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip
REBUILD = {("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter")}


class Inert:
    """In the place of an object of another package: it keeps what it was made of, and does
    nothing."""

    name = ""  # what the file calls its class
    args: tuple = ()
    state: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> "Inert":
        found = super().__new__(cls)
        found.args = args
        return found

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> "Inert":
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state

    # what a pickle puts into a collection
    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass

    def add(self, value: Any) -> None:
        pass


class Lying:
    """A tensor that is still in its file: `shape`, and `read()`."""

    def __init__(self, file: "TorchFile", storage: Any, offset: Any, size: Any, stride: Any):
        numbers = [offset, *size, *stride]
        if not all(type(n) is int and 0 <= n < 2**62 for n in numbers) or len(size) != len(stride):
            raise ValueError("a tensor has a size, stride or offset that cannot be")
        self.file, self.storage, self.offset = file, storage, offset
        self.shape, self.stride = tuple(size), tuple(stride)

    def read(self) -> Tensor:
        """The tensor.  ValueError for one that its storage does not hold."""
        _, key, count = self.storage
        last = sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        values = math.prod(self.shape)
        # of no more values than there are: what repeats some could be of any size
        if values > count or (values and self.offset + last >= count):
            raise ValueError(
                f"{self.file.path} is damaged: a tensor of shape {self.shape} in the {count:,} "
                f"values of storage {key}: download it again"
            )
        whole = self.file.storage(*self.storage)
        return torch.as_strided(whole, self.shape, self.stride, self.offset)


class TorchFile:
    """What `torch.save` wrote to `path`: `content`, tensors in it as `Lying`.

    ValueError for what is no such file, or damaged.
    """

    def __init__(self, path: Path):
        check_file(path)
        self.path, self.content = path, None
        try:
            with open(path, "rb") as stream:
                if not zipfile.is_zipfile(stream):
                    raise ValueError("it is not a zip archive, as torch.save writes since 1.6")
            with zipfile.ZipFile(path) as archive:
                self.entries = {name.partition("/")[2]: name for name in archive.namelist()}
                if "data.pkl" not in self.entries:
                    raise ValueError("it is a zip archive without data.pkl")
                if "byteorder" in self.entries and self.bytes_of(archive, "byteorder") != b"little":
                    raise ValueError("its numbers are not little-endian")
                pickled = self.bytes_of(archive, "data.pkl")
            self.content = Reader(io.BytesIO(pickled), self).load()
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except Exception as error:  # a pickle can fail in any way
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise ValueError(
                f"{path} is not a whole file of torch.save: {said}: download it again"
            ) from None

    def bytes_of(self, archive: zipfile.ZipFile, name: str) -> bytes:
        entry = archive.getinfo(self.entries[name])
        check_ratio(name, entry.file_size, entry.compress_size)
        return archive.read(entry)

    def storage(self, dtype: torch.dtype, key: str, count: int) -> Tensor:
        """(count,) of a storage.  ValueError if the file has not so many values of it."""
        with reading(self.path, "a whole file of torch.save"):
            if f"data/{key}" not in self.entries:
                raise ValueError(f"storage {key} is missing: download it again")
            with zipfile.ZipFile(self.path) as archive:
                raw = bytearray(self.bytes_of(archive, f"data/{key}"))
        if len(raw) != count * dtype.itemsize:
            raise ValueError(
                f"{self.path} is damaged: storage {key} has {len(raw):,} bytes, and is of "
                f"{count:,} values: download it again"
            )
        return torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)


# the one written in Python: that in C takes memory by the numbers in a pickle
class Reader(pickle._Unpickler):  # pyrefly: ignore
    """A pickle that can call nothing but what is here."""

    def __init__(self, stream: Any, file: TorchFile):
        super().__init__(stream, encoding="utf-8")
        self.file = file

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) in REBUILD:
            # methods: nothing of theirs can be altered, as a pickle may try
            return self.tensor if name.endswith("v2") else self.parameter
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        return type("Stub", (Inert,), {"name": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        """("storage", type, key, device, count) of a storage."""
        if not isinstance(pid, tuple) or len(pid) != 5:
            raise ValueError("a storage is not told as torch.save does")
        kind, dtype, key, _, count = pid
        known = isinstance(dtype, torch.dtype) and type(key) is str and type(count) is int
        if kind != "storage" or not known or not 0 <= count < 2**62:
            raise ValueError("a storage is not told as torch.save does")
        return dtype, key, count

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Lying:
        if not isinstance(storage, tuple) or len(storage) != 3:
            raise ValueError("a tensor has no storage")
        return Lying(self.file, storage, offset, size, stride)

    def parameter(self, data: Any, *rest: Any) -> Any:
        return data
