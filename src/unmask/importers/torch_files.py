"""Tensors from the files of `torch.save`, of which nothing runs.

Such a file is a zip archive: one pickle, and the bytes of every storage.  Pickles can call whatever
they name.  Here they are given three things that are needed, `OrderedDict`, PyTorch's types of
storage and a function that notes where a tensor lies, and for every other name an inert stand-in,
which keeps what it is called with.  Tensors are read when they are asked for.
"""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.files import check_file

MOST_PICKLE = 256 << 20  # bytes: tensors are not in it, a tokenizer may be
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
        if not all(type(n) is int and n >= 0 for n in numbers) or len(size) != len(stride):
            raise ValueError(f"a tensor of size {size} and stride {stride}")
        self.file, self.storage, self.offset = file, storage, offset
        self.shape, self.stride = tuple(size), tuple(stride)

    def read(self) -> Tensor:
        dtype, key, count = self.storage
        return torch.as_strided(
            self.file.storage(dtype, key, count), self.shape, self.stride, self.offset
        )


class TorchFile:
    """What `torch.save` wrote to `path`: `content`, tensors in it as `Lying`.

    ValueError for what is no such file, or damaged.
    """

    def __init__(self, path: Path):
        check_file(path)
        self.path, self.content = path, None
        try:
            with open(path, "rb") as file:
                archive = zipfile.is_zipfile(file)
            if not archive:
                raise ValueError("it is not a zip archive, as torch.save writes since 1.6")
            with zipfile.ZipFile(path) as archive:
                self.entries = {name.partition("/")[2]: name for name in archive.namelist()}
                order = self.bytes_of(archive, "byteorder") if "byteorder" in self.entries else b""
                if order not in (b"", b"little"):
                    raise ValueError(f"its byte order is {order!r}, and little-endian is read")
                with archive.open(self.entries["data.pkl"]) as stream:
                    if archive.getinfo(self.entries["data.pkl"]).file_size > MOST_PICKLE:
                        raise ValueError(f"its pickle is larger than {MOST_PICKLE:,} bytes")
                    self.content = Reader(stream, self).load()
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except Exception as error:  # a pickle can fail in any way
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise ValueError(
                f"{path} is not a whole file of torch.save: {said}: download it again"
            ) from None

    def bytes_of(self, archive: zipfile.ZipFile, name: str) -> bytes:
        return archive.read(self.entries[name])

    def storage(self, dtype: torch.dtype, key: str, count: int) -> Tensor:
        """(count,) of a storage.  ValueError if the file has not so many bytes of it."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                size = archive.getinfo(self.entries[f"data/{key}"]).file_size
                if size != count * dtype.itemsize:
                    raise ValueError(f"storage {key} has {size:,} bytes, expected {count:,} values")
                raw = bytearray(self.bytes_of(archive, f"data/{key}"))
        except (KeyError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{self.path} is damaged at storage {key} ({error}): download it again"
            ) from None
        return torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)


class Reader(pickle.Unpickler):
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
        kind, dtype, key, _, count = pid
        known = isinstance(dtype, torch.dtype) and type(key) is str and type(count) is int
        if kind != "storage" or not known or count < 0:
            raise ValueError(f"a storage of {str(pid)[:80]}")
        return dtype, key, count

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Lying:
        return Lying(self.file, storage, offset, size, stride)

    def parameter(self, data: Any, *rest: Any) -> Any:
        return data
