"""Models and training states on disk: folders of JSON and safetensors.

They are written whole or not at all, and verified on reading.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from unmask.documents import read_json
from unmask.files import beside, check_place, flush, leftovers, locked, mode_of, write_whole

FORMAT = 1
CONFIG = "config.json"
MOST_HEADER = 10 << 20  # bytes: of about 100,000 tensors, which take seconds to be read


def save(
    path: str | Path, config: dict, tensors: dict[str, dict[str, Tensor]], files: dict[str, bytes]
) -> None:
    """Write a folder: `config.json`, a safetensors file per entry of `tensors`, and `files`.

    An older model there is replaced.  `config.json` holds the SHA-256 of every file, of itself
    without that line.  The folder is written under another name, flushed to disk and renamed, so a
    reader never sees half of it; see `put_back` for kills between two renames.  ValueError if the
    path is a file, or a folder that holds something else or cannot be replaced.
    """
    path = Path(path).resolve()
    check_place(path)
    put_back(path)
    if path.exists() and (why := in_the_way(path)):
        raise ValueError(f"{path} {why}: choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in leftovers(path):
        shutil.rmtree(leftover, ignore_errors=True)
    new = beside(path)
    new.mkdir()
    complete(new, path, config, tensors, files)


def complete(
    new: Path,
    path: Path,
    config: dict,
    tensors: dict[str, dict[str, Tensor]],
    files: dict[str, bytes],
) -> None:
    """Add what `save` takes to a folder, and give it the name `path`; it is gone if that fails.

    What the folder holds already belongs to it, too.  It is as private as what it replaces.
    """
    config = json.loads(json.dumps(config))  # as it will be read: the digest is of that
    old = beside(path)
    try:
        with locked(new):  # and `path`, once it is `old`: nobody puts them back meanwhile
            if path.exists():
                new.chmod(mode_of(path))
            write_folder(new, config, tensors, files)
            with locked(path) if path.exists() else nullcontext():
                if path.exists():
                    path.rename(old)
                new.rename(path)
        flush(path.parent)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_folder(
    folder: Path, config: dict, tensors: dict[str, dict[str, Tensor]], files: dict[str, bytes]
) -> None:
    """Add to a folder, `config.json` last, and flush it to disk."""
    for name, state in tensors.items():
        save_tensors(state, folder / name)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    digests = {path.name: digest(path) for path in sorted(folder.iterdir())}
    (folder / CONFIG).write_bytes(sealed(config, digests))
    for written in [*(folder / name for name in [*digests, CONFIG]), folder]:
        flush(written)


def sealed(config: dict, digests: dict[str, str]) -> bytes:
    """`config.json` of a model whose other files have these SHA-256; its own is added."""
    config = {"format": FORMAT, **config, "sha256": dict(digests)}
    config["sha256"][CONFIG] = config_digest(config)
    return (json.dumps(config, indent=2) + "\n").encode()


def put_back(path: Path) -> None:
    """Give a model its name again, where a kill between the two renames of `save` left it without.

    Of the older and the newer one, both whole, whichever is found first.
    """
    if path.exists():
        return
    for copy in leftovers(path):
        if is_whole(copy) and not path.exists():
            copy.rename(path)
            said = "a process that was writing it was killed, and a whole copy is put back"
            print(f"{path}: {said}", file=sys.stderr)


def is_whole(folder: Path) -> bool:
    """Whether all files of a model are those that its `config.json` names."""
    try:
        digests = read_config(folder)["sha256"]
        verify(folder, digests, digests)
    except ValueError:
        return False
    return True


def save_tensors(state: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file; OSError if that fails, as on a full disk."""
    path.touch()
    mode = path.stat().st_mode
    try:
        safetensors.torch.save_file(separate(state), path)
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from None
    check_header(path)  # what could not be read again
    path.chmod(mode)  # safetensors makes it private


def in_the_way(path: Path) -> str:
    """Why what is at a path may not be replaced; "" for an empty folder, or one that holds a saved
    model, whole or not, and nothing else.

    Other projects have a config.json, too.
    """
    strange = "exists and is not a saved model"
    if not path.is_dir():
        return strange
    names = {one.name for one in path.iterdir()}
    try:
        config = read_json(path / CONFIG) if names else {"format": FORMAT, "sha256": {}}
    except ValueError:
        return strange
    if not (isinstance(config, dict) and "format" in config and type(config.get("sha256")) is dict):
        return strange
    others = sorted(names - {CONFIG, *config["sha256"]})
    return f"holds more than a saved model ({', '.join(others)})" if others else ""


def separate(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors on the CPU, no two of which share memory (tied weights do)."""
    seen, found = set(), {}
    for key, tensor in state.items():
        tensor = tensor.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        found[key] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return found


def write_json(path: Path, content: dict) -> None:
    """Replace a JSON file, whole or not at all."""
    write_whole(path, json.dumps(content, indent=2) + "\n")


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def resolve(path: str | Path) -> Path:
    """The folder of a model: `path`, or the newest complete checkpoint of a training folder."""
    path = Path(path)
    put_back(Path(os.path.realpath(path)))  # as `save` does, where it is a link
    if (path / CONFIG).is_file():
        return path
    newest = checkpoints(path)
    if newest and not (newest[-1] / CONFIG).is_file():
        missing = f"{newest[-1] / CONFIG} is missing: restore it from a copy"
        raise ValueError(f"{missing}, or remove {newest[-1]} to use the checkpoint before")
    if newest:
        return newest[-1]
    if not path.exists():
        raise ValueError(f"there is no folder {path}")
    why = f"{path} holds no model: neither {CONFIG} nor checkpoints/STEP/{CONFIG}"
    if checkpoints(path / "run"):
        why += f"; did you mean {path / 'run'}?"
    raise ValueError(why)


def checkpoints(run: str | Path) -> list[Path]:
    """The checkpoints of a training folder, oldest first.

    A folder with a step's name was whole when it got it: without a config.json it is damaged, which
    who reads it is told.
    """
    folders = (f for f in Path(run).glob("checkpoints/*") if f.name.isdecimal() and f.is_dir())
    return sorted(folders, key=lambda folder: int(folder.name))


def read_config(folder: str | Path) -> dict:
    """`config.json`, or a ValueError that names the file."""
    path = Path(folder) / CONFIG
    config = read_json(path)
    known = isinstance(config, dict) and config.get("format") == FORMAT
    if not known or not isinstance(config.get("sha256"), dict):
        raise ValueError(
            f"{path} is not a model of format {FORMAT}, which this version of unmask reads"
        )
    if config_digest(config) != config["sha256"].get(CONFIG):
        raise damaged(path, "the recorded one")
    return config


def damaged(path: Path, expected: str) -> ValueError:
    return ValueError(
        f"{path} is damaged or altered: its SHA-256 is not {expected}; restore the file from a copy"
    )


def config_digest(config: dict) -> str:
    """SHA-256 of `config.json` without the line that holds it."""
    others = {name: value for name, value in config["sha256"].items() if name != CONFIG}
    content = json.dumps(config | {"sha256": others}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def check_header(path: Path) -> None:
    """ValueError for a safetensors file with more tensors than any network here has."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if MOST_HEADER < size < path.stat().st_size:  # else it is damaged, which is told later
        raise ValueError(
            f"{path} lists its tensors in {size:,} bytes, of which {MOST_HEADER:,} are read: "
            "give a model of fewer tensors"
        )


def verify(folder: str | Path, names: Iterable[str], digests: dict[str, str]) -> None:
    """ValueError unless files are there, `config.json` aside, and their digests are these."""
    for name in names:
        if name == CONFIG:
            continue
        file = Path(folder) / Path(name).name
        if not file.is_file():
            raise ValueError(f"{file} is missing")
        if digest(file) != digests.get(name):
            raise damaged(file, f"the one in {CONFIG}")


def load(folder: str | Path, name: str) -> tuple[dict, dict[str, Tensor]]:
    """`config.json` and one of the safetensors files.

    ValueError unless the digests of that and of all small files are the recorded ones.
    """
    config = read_config(folder)
    large = {other for other in config["sha256"] if other.endswith(".safetensors")}
    verify(folder, {name, *config["sha256"]} - (large - {name}), config["sha256"])
    path = Path(folder) / name
    check_header(path)
    try:
        return config, safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from None
