"""What makes two numbers comparable: a small frozen object, saved with each of them."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

# what has to be equal, from what is told first if several differ
EQUAL = (
    "tokenizer_sha256", "tokenizer", "name", "data_sha256", "split", "unit", "packing", "length",
    "given", "denominator", "examples",
)  # fmt: skip
HASH = 64  # letters


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Of one evaluation: on what, of what, and how."""

    name: str  # of a recipe, or "" for a folder that was prepared in some other way
    official: str  # whether the source is the published one; "" without a name
    data_sha256: str  # of the files of the split
    tokenizer: str
    tokenizer_sha256: str  # of its spec and files
    unit: str  # what a position is
    packing: str
    length: int  # of a window
    given: str  # what is shown and not paid for
    split: str
    examples: int  # windows, spread evenly over the split
    denominator: str  # which positions are counted
    estimator: str
    masking: str
    draws: int
    density: str  # of the draws of times or counts
    seed: int
    precision: str
    weights: str
    version: str  # of the package

    @property
    def sha256(self) -> str:
        return digest_of(asdict(self))

    def differs(self, other: "Protocol") -> list[str]:
        """The fields that make a pair of numbers of two models meaningless."""
        return [name for name in EQUAL if getattr(self, name) != getattr(other, name)]

    def unlike(self, other: "Protocol") -> list[str]:
        """The other fields that differ: to be said."""
        names = [field.name for field in fields(self) if field.name not in EQUAL]
        return [name for name in names if getattr(self, name) != getattr(other, name)]

    def record(self) -> dict[str, Any]:
        """For the record of a number."""
        return {"protocol": asdict(self), "protocol_sha256": self.sha256}


def digest_of(content: Any) -> str:
    """SHA-256 of the one way to write JSON."""
    written = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(written.encode()).hexdigest()


def of_record(record: dict, where: str) -> Protocol | None:
    """What a number was recorded with; None for a record from before there were protocols.

    ValueError for one that is not what it was hashed as.
    """
    if "protocol" not in record:
        return None
    again = "write the record again with unmask eval --json"
    content = record["protocol"]
    types = {field.name: field.type for field in fields(Protocol)}
    if not isinstance(content, dict) or content.keys() != types.keys():
        raise ValueError(f"{where}: its protocol has other fields than this version knows: {again}")
    if any(type(content[name]) is not known for name, known in types.items()):
        raise ValueError(f"{where}: its protocol has a field of another type: {again}")
    if digest_of(content) != record.get("protocol_sha256"):
        raise ValueError(f"{where}: its protocol was changed after it was written: {again}")
    return Protocol(**content)


def tokens_digest(meta: dict, splits: tuple[str, ...]) -> str:
    """SHA-256 of a tokenizer's spec, and of its files beside the data."""
    files = {name: one for name, one in meta["sha256"].items() if of_split(name) not in splits}
    return digest_of([meta["tokenizer"], meta["vocab_size"], files])


def split_digest(meta: dict, split: str) -> str:
    """SHA-256 of the lines "name  checksum" of the files of a split."""
    files = sorted((n, one) for n, one in meta["sha256"].items() if of_split(n) == split)
    return digest_of(files)


def of_split(name: str) -> str:
    return name.partition(".")[0]
