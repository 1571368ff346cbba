"""A model's card for the Hub, README.md: what is known of the model, in words and as metadata."""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import PurePath, PureWindowsPath
from typing import Any, NamedTuple

from unmask.config import BUILT
from unmask.estimate import plus_minus


class Facts(NamedTuple):
    """What is known of a model that is to be shared."""

    repository: str  # user/name
    license: str  # as the Hub calls it
    config: dict  # of its config.json
    parameters: int
    made_with: str  # the package that shares it: its version, and its commit if that is known
    results: Sequence[dict]  # records of `unmask eval --json`, of these very weights
    training: Sequence[dict]  # and of `unmask train --json`


def card(facts: Facts) -> str:
    """README.md: metadata between two lines of dashes, then Markdown.

    Needs huggingface_hub, which writes the metadata.
    """
    parts = [
        f"---\n{metadata(facts)}\n---\n",
        f"# {facts.repository}\n",
        f"{described(facts)}\n",
        f"{usage(facts)}\n",
        f"## Data\n\n{data_of(facts.config['meta'].get('data', {}))}\n",
        f"## Results\n\n{results_of(facts)}\n",
        f"## Training\n\n{training_of(facts)}",
    ]
    return "\n".join(parts)


def metadata(facts: Facts) -> str:
    """As YAML; the model-index holds the numbers that have a protocol."""
    from huggingface_hub import ModelCardData

    meta = facts.config["meta"]
    kind = meta.get("data", {}).get("kind")
    said: dict[str, Any] = {"tags": ["masked-diffusion", *([kind] if kind else [])]}
    if "from_hub" in meta:
        said["base_model"] = meta["from_hub"].partition("@")[0]
    if facts.results:
        said["eval_results"] = [result(record, meta["data"]) for record in facts.results]
        said["model_name"] = facts.repository.partition("/")[2]
    return ModelCardData(license=facts.license, library_name="unmask", **said).to_yaml()


def result(record: dict, data: dict) -> Any:
    """A number of the model-index, with its errors and protocol."""
    from huggingface_hub import EvalResult

    protocol, names = record["protocol"], ""
    if record["data_sha256"] == data["sha256"]:  # else it was evaluated on other data
        names = ", ".join(source["name"] for source in data["source"])
    return EvalResult(
        task_type="masked-diffusion", task_name=record["what"],
        dataset_type=protocol["name"] or data["kind"],
        dataset_name=protocol["name"] or names or data["kind"],
        dataset_split=protocol["split"], dataset_revision=protocol["data_sha256"],
        metric_type=record["unit"].replace(" ", "-"), metric_name=record["unit"],
        metric_value=record["value"],
        metric_args={
            "stderr": record["stderr"], "noise": record["noise"],
            "protocol_sha256": record["protocol_sha256"],
        },
    )  # fmt: skip


def described(facts: Facts) -> str:
    config = facts.config
    meta, units = config["meta"], config["subtokenizer"]
    of = f" of {meta['data']['kind']}" if "kind" in meta.get("data", {}) else ""
    digits = f", {units['length']} digits each" if units["length"] > 1 else ""
    length = f", trained at a length of {meta['length']:,}" if "length" in meta else ""
    return (
        f"A masked diffusion model{of}: {code(config['backbone']['name'])} of {facts.parameters:,} "
        f"parameters, schedule {code(config['schedule']['name'])}, {units['vocab_size']:,} "
        f"values{digits}{length}. It is a folder of JSON and safetensors without code, which "
        "`unmask` verifies by digests when it is read."
    )


def usage(facts: Facts) -> str:
    """Three lines of Python, and a verb where the model says what its tokens are."""
    meta, verbs = facts.config["meta"], ""
    length = meta.get("length", 8)
    if "kind" in meta.get("data", {}):
        verbs = f"The verbs take it by name, too: `unmask eval {facts.repository} --data DATA`. "
    return (
        "With `pip install 'unmask[hub]'`:\n\n```python\nimport unmask\n"
        f'model = unmask.MaskedDiffusion.from_pretrained("{facts.repository}")\n'
        f"print(unmask.sample(model, num=2, length={length}))\n```\n\n"
        f"{verbs}`{facts.repository}@COMMIT` is one revision of it."
    )


def data_of(data: dict) -> str:
    """What it was trained on, with digests."""
    if not data.get("source"):
        return "Its folder does not say what it was trained on."
    rows = [
        f"| {code(one['name'])} | {one['bytes']:,} | `{one['sha256']}` |" for one in data["source"]
    ]
    parts = [f"- {code(name)}: `{sha}`" for name, sha in data["sha256"].items()]
    lines = ["| source | bytes | SHA-256 |", "|---|---|---|", *rows, ""]
    lines += ["What was prepared from it, by SHA-256:", "", *parts]
    return "\n".join(lines)


def results_of(facts: Facts) -> str:
    if not facts.results:
        return "No evaluation of these weights lies in its folder."
    return "\n\n".join(map(in_words, facts.results))


def in_words(record: dict) -> str:
    """A number with its errors, its protocol and the command that made it."""
    number = record["value"]
    if record["stderr"] is not None:
        number = plus_minus(record["value"], record["stderr"])
    noise = "" if record["noise"] is None else f"; noise of the masks alone {record['noise']:.4f}"
    protocol = json.dumps(record["protocol"], indent=2, ensure_ascii=False)
    told = f"Protocol, SHA-256 `{record['protocol_sha256']}`:\n\n{fenced(protocol, 'json')}"
    return (
        f"**{number} {record['unit']}**: {record['what']}, of the {record['split']} split "
        f"({record['n']:,} examples, error {record['error_over']}{noise})\n\n"
        f"{fenced(command_of(record), 'sh')}\n\n{told}"
    )


def training_of(facts: Facts) -> str:
    """How it was made, as far as its folder tells."""
    config, lines = facts.config, []
    meta, done = config["meta"], config.get("training")
    if "from_hub" in meta:
        lines.append(f"It went on from {code(meta['from_hub'])} of the Hub.")
    elif "from" in meta:
        lines.append(
            f"It went on from other weights, whose SHA-256 is `{meta['from']}`: what they were "
            "trained on is not said above."
        )
    if done is None:
        lines.append("Its folder does not hold a run.")
    else:
        lines.append(f"{done['step']:,} steps in {done['seconds']:,.0f} seconds; averaged weights.")
        how = done.get("run", {}).get("identity", {})
        left_out = ("data", "from")  # digests, which are above
        if how.get("from"):  # older versions kept these, and they were not the model's
            left_out += BUILT
        settings = {name: value for name, value in how.items() if name not in left_out}
        if settings:
            lines.append(f"Settings:\n\n{fenced(json.dumps(settings), 'json')}")
    lines += [f"Command:\n\n{fenced(command_of(one), 'sh')}" for one in facts.training]
    made = f"Made with `unmask {meta['unmask']}`, s" if "unmask" in meta else "S"
    lines.append(f"{made}hared with {code(facts.made_with)}.")
    return "\n\n".join(lines) + "\n"


def command_of(record: dict) -> str:
    """The command of a record, in which paths that tell of a machine are names."""
    return shlex.join(map(cut, record["command"]))


def cut(word: str) -> str:
    """A word of a command: of a path from a root, from a home or upwards, and of an address, only
    the last part; the same of what stands behind `--flag=`."""
    flag, equals, value = word.partition("=")
    if word.startswith("--") and equals:
        return flag + equals + cut(value)
    whole = any(of(word).is_absolute() for of in (PurePath, PureWindowsPath))
    inside = re.search(r"(^|[\s='\"])(/|~|[A-Za-z]:[\\/])|\.\.[\\/]|://", word)
    return PureWindowsPath(word).name if whole or inside else word


def code(text: str) -> str:
    """On one line, as code that ends where it should."""
    return f"`{' '.join(str(text).replace('`', chr(39)).split()).replace('|', '/')}`"


def fenced(text: str, language: str) -> str:
    """A block of code, which no line of it ends."""
    ticks = "```"
    while ticks in text:
        ticks += "`"
    return f"{ticks}{language}\n{text}\n{ticks}"
