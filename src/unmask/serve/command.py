"""The command that does what the page did."""

import base64
import shlex
from dataclasses import fields
from typing import Any

from unmask.config import OWN, TIMED, Sampling
from unmask.serve.models import Served
from unmask.serve.settings import Settings


def command(
    served: Served,
    settings: Settings,
    content: bytes,
    flags: dict[str, str],
    length: int,
    label: str,
    *,
    window: bool = False,
) -> str:
    """Lines for a shell: what is filled in, as a file, and the verb; of samples, the verb alone.

    flags: of `fill` that are the kind's own; length and label: of samples.  window: whether what is
    filled in is longer than the model was trained at.
    """
    words: list[Any] = ["unmask", "fill", served.path, served.editor.file]
    file = written(content, served.editor.file) + " &&\n"
    if length:
        words, file = ["unmask", "sample", served.path], ""
        if not served.kind.fixed:
            words += ["--length", length]
        flags = {"label": label}
    words += ["--num", settings.num, "--seed", settings.seed]
    words += sampling_flags(settings.sampling)
    if window:
        words.append("--window")
    for name, value in flags.items():
        if value:
            words += [f"--{name}", value]
    return file + shlex.join(map(str, [*words, *served.machine]))


def sampling_flags(sampling: Sampling) -> list[Any]:
    """Flags and values, of what is not as it is without them and has an effect."""
    without = set(OWN) - set(sampling.own())
    if sampling.sampler == "first_hitting":  # whose law depends on neither
        without |= {"steps", "grid"}
    if not sampling.steps and sampling.sampler not in TIMED:
        without.add("grid")
    words: list[Any] = []
    for field in fields(Sampling):
        value = getattr(sampling, field.name)
        if value != field.default and field.name not in without:
            words += [f"--{field.name.replace('_', '-')}", value]
    return words


def written(content: bytes, name: str) -> str:
    """A line for a shell that writes a file."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if text.isprintable() or text.replace("\n", "").replace("\t", "").isprintable():
        return f"printf %s {shlex.quote(text)} > {shlex.quote(name)}"
    return f"echo {base64.b64encode(content).decode()} | base64 -d > {shlex.quote(name)}"
