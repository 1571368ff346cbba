"""Where what is made goes: the terminal or a file."""

import json
import sys
from pathlib import Path


def write_texts(out: str, texts: list[str]) -> None:
    """To the terminal, or to a file: one text as it is, several under headings, or JSON lines."""
    if out.endswith(".jsonl"):
        content = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    elif len(texts) == 1:
        content = texts[0] if out else texts[0] + "\n" * (not texts[0].endswith("\n"))
    else:
        content = "".join(f"--- {i}\n{text}\n" for i, text in enumerate(texts, 1))
    if out:
        Path(out).write_text(content, encoding="utf-8")
        print(f"wrote {out}", file=sys.stderr)
    else:
        sys.stdout.write(content)


def check_out(path: str, suffix: str = "") -> None:
    """An output file that cannot be written is an error before the work, not after."""
    if path and not Path(path).resolve().parent.is_dir():
        raise ValueError(f"{path}: there is no folder {Path(path).parent}")
    if path and Path(path).is_dir():
        raise ValueError(f"{path} is a folder, not a file")
    if path:
        new = not Path(path).exists()
        with open(path, "a"):  # an OSError names the file and the reason
            pass
        if new:
            Path(path).unlink()
    if path and suffix and not path.endswith(suffix):
        raise ValueError(f"{path} must end in {suffix}")


def write_text(out: str, text: str) -> None:
    """As it is, to the terminal or to a file."""
    if out:
        Path(out).write_text(text, encoding="utf-8")
        print(f"wrote {out}", file=sys.stderr)
    else:
        sys.stdout.write(text)


def numbered(out: Path, num: int, source: Path, suffix: str = "") -> list[Path]:
    """`num` files to write what was filled in to, of that name or that name with a number.
    ValueError for one that would not do."""
    names = [out] if num == 1 else [out.with_stem(f"{out.stem}-{i}") for i in range(1, num + 1)]
    for name in names:
        spare(name, source, suffix)
    return names


def spare(name: Path, source: Path, suffix: str = "") -> None:
    """ValueError for an output that cannot be written, or that is the input."""
    check_out(str(name), suffix)
    if name.resolve() == source.resolve():
        raise ValueError(f"{name} would overwrite the input: name another file")
