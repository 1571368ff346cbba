"""A model of proteins beside n-grams: bits per residue, samples, and masked residues recovered.

    unmask prepare proteins uniprot20k.fasta.gz DATA [--clusters CLUSTERS.tsv]
    unmask train protein --data DATA --out RUN
    python runs/proteins.py RUN DATA OUT.json

Errors are over different held-out sequences (windows of one, and equal ones, count as one), or over
their clusters; of samples and what stands beside them over single sequences.  Without --clusters
homologues of a held-out sequence may be in the training split, and all figures say how well such
data are known, not how well a new family would be.
"""

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from unmask import MaskedDiffusion, __version__, checkpoint, estimate_nelbo
from unmask.data import ProteinData, open_data
from unmask.device import pick_dtype, precision, tune_process
from unmask.documents import read_json
from unmask.estimate import difference
from unmask.kinds.baselines import sequence_ngram_bits, sequence_ngram_probs
from unmask.kinds.output import check_out
from unmask.kinds.proteins.demo import composition
from unmask.kinds.proteins.residues import COMMON, LETTERS
from unmask.sampling import draw_lengths, sample

CPU = torch.device("cpu")
ORDERS = (1, 2, 3, 4, 5)
V = len(LETTERS)


def ratio(total: np.ndarray, count: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """sum(total) / sum(count), each (n,), and its error over groups (n,) (delta method)."""
    total, count = (np.bincount(group, v) for v in (total, count))
    value = total.sum() / count.sum()
    residual = total - value * count
    return float(value), float(residual.std(ddof=1) / math.sqrt(len(count)) / count.mean())


def bounds(model: MaskedDiffusion, data: ProteinData, args, train: tuple, test: tuple) -> dict:
    """Bits per held-out residue of the model (a bound) and of n-grams; paired differences."""
    length = model.meta["length"]
    windows = data.windows("test", length, args.batch_size)
    total = -(-data.window_count("test", length) // args.batch_size)
    bar = tqdm(windows, total=total, desc="bound")
    with precision(pick_dtype("auto", CPU), CPU):
        bound = estimate_nelbo(model, bar, repeats=args.repeats, seed=args.seed)
    sequence, _, _ = data.window_places("test", length)
    group = data.families("test")
    bound = replace(bound, groups=torch.from_numpy(group[sequence]))
    made = {
        "bits_per_residue": bound.bits_per_dim, "stderr": bound.bits_per_dim_stderr,
        "noise": bound.bits_per_dim_noise, "residues": int(bound.positions.sum()),
        "sequences": len(group), "groups": int(group.max()) + 1,
        "windows": len(bound.positions), "length": length, "repeats": args.repeats,
    }  # fmt: skip
    print(
        f"{'this model':28} {bound.bits_per_dim:.4f} +- {bound.bits_per_dim_stderr:.4f} "
        f"bits per residue, a bound (noise of the masks alone {bound.bits_per_dim_noise:.4f})"
    )
    whole = np.bincount(sequence, bound.positions.numpy())
    whole = np.maximum(whole, 1)  # of a sequence of which no residue is known, nothing is paid
    for order in ORDERS:
        theirs = sequence_ngram_bits(train, test, V, order) * math.log(2)
        # a window's share of its sequence
        each = torch.from_numpy((theirs / whole)[sequence]) * bound.positions
        ngram = replace(bound, replicates=each.expand_as(bound.replicates), steady=None)
        less, of_less, _ = difference(bound, ngram)
        made[f"{order}-gram"] = {
            "bits_per_residue": ngram.bits_per_dim, "stderr": ngram.bits_per_dim_stderr,
            "model_less_ngram": less, "model_less_ngram_stderr": of_less,
        }  # fmt: skip
        name = f"{order}-gram, whole sequences"
        print(
            f"{name:28} {ngram.bits_per_dim:.4f} +- {ngram.bits_per_dim_stderr:.4f}; "
            f"the model has {less:+.4f} +- {of_less:.4f}",
            flush=True,
        )
    return made


def samples(model: MaskedDiffusion, data: ProteinData, args, train: tuple) -> dict:
    """Composition, beginnings, lengths and n-gram score of samples.

    Beside those of training and held-out sequences as short as they are.
    """
    generator = torch.Generator().manual_seed(args.seed)
    sizes = draw_lengths(model, args.num, generator).sort(descending=True).values
    rows = []
    for part in tqdm(sizes.split(args.batch_size), desc="samples"):
        valid = torch.arange(int(part[0])) < part[:, None]
        z = torch.full(valid.shape, model.mask_id)
        with precision(pick_dtype("auto", CPU), CPU):
            x = sample(model, z=z, valid=valid, steps=args.steps, generator=generator)
        rows += [row[:n].numpy() for row, n in zip(x, part.tolist(), strict=True)]
    length = model.meta["length"]
    kinds = {"samples": rows}
    for split in ("train", "test"):
        kinds[split] = [row for row in data.sequences(split) if len(row) <= length]
    texts = {name: [data.tokenizer.decode(row) for row in found] for name, found in kinds.items()}
    of_train, _ = composition(texts["train"])
    made: dict = {"num": args.num, "steps": args.steps, "longest": length, "letters": COMMON}
    for name, found in kinds.items():
        share, error = composition(texts[name])
        sizes = np.array([len(row) for row in found])
        one = np.arange(len(found))
        edges = np.concatenate([[0], np.cumsum(sizes)])
        bits = sequence_ngram_bits(train, (np.concatenate(found), edges), V, 3)
        known = np.array([int((row < V).sum()) for row in found])
        first = np.array([text[0] == "M" for text in texts[name]], float)
        spread = np.array([len(set(text)) for text in texts[name]])
        of_length, of_first = (float(v.std() / math.sqrt(len(v))) for v in (sizes, first))
        score, of_score = ratio(bits, known, one)
        apart = float(np.abs(share - of_train).sum() / 2)
        made[name] = {
            "sequences": len(found),
            "mean_length": float(sizes.mean()), "mean_length_stderr": of_length,
            "length_quartiles": np.percentile(sizes, [25, 50, 75]).tolist(),
            "share": share.tolist(), "share_stderr": error.tolist(),
            "total_variation_from_train": apart,
            "begin_with_M": float(first.mean()), "begin_with_M_stderr": of_first,
            "3-gram_bits": (score, of_score), "different_letters": float(spread.mean()),
        }  # fmt: skip
        print(
            f"{name:8} {len(found):6,} of {sizes.mean():5.1f} +- {of_length:.1f} residues; "
            f"{100 * first.mean():5.1f} +- {100 * of_first:.1f} % begin with M; "
            f"3-gram bits {score:.3f} +- {of_score:.3f}; composition {apart:.4f} from train",
            flush=True,
        )
    draws, texts_of_train = np.random.default_rng(args.seed), texts["train"]
    apart = []
    for _ in range(100):
        few = draws.permutation(len(texts_of_train))[: args.num]
        share, _ = composition([texts_of_train[i] for i in few])
        apart.append(np.abs(share - of_train).sum() / 2)
    mean, deviation = float(np.mean(apart)), float(np.std(apart))
    made["total_variation_of_as_many_training_sequences"] = [mean, deviation]
    print(
        f"as many training sequences are {mean:.4f} +- {deviation:.4f} "
        "from all of them (total variation)"
    )
    return made


def posterior(probs: np.ndarray, ids: np.ndarray, masked: np.ndarray) -> np.ndarray:
    """(masked, V): what the trigram `probs` (V + 2, V + 2, V) says of masked residues.

    Given all others of ids (n,): forward, backward.
    """
    n, states = len(ids), V + 2
    step = np.zeros((states, states, states))  # from (c, a) to (a, v); V, unknown, costs nothing
    step[:, :, :V], step[:, :, V] = probs, 1
    seen = np.zeros((n, states))
    seen[np.arange(n), ids] = 1
    seen[masked] = np.arange(states) < V
    forward = np.zeros((n + 1, states, states))
    forward[0, V + 1, V + 1] = 1
    for i in range(n):
        forward[i + 1] = np.einsum("ca,cav->av", forward[i], step) * seen[i]
        forward[i + 1] /= forward[i + 1].sum()
    backward, found = np.ones((states, states)), np.zeros((n, V))
    for i in range(n - 1, -1, -1):
        both = (forward[i + 1] * backward).sum(0)[:V]
        found[i] = both / both.sum() if masked[i] else 0
        backward = np.einsum("cav,av->ca", step, backward * seen[i])
        backward /= backward.max()
    return found[masked]


@torch.no_grad()
def recovery(model: MaskedDiffusion, data: ProteinData, args, train: tuple) -> dict:
    """The share of masked residues whose likeliest value is the true one, and bits for each.

    Of the model and of the trigram.
    """
    length, draws = model.meta["length"], np.random.default_rng(args.seed)
    probs = sequence_ngram_probs(*train, V, 3)
    chosen = data.sequences("test")
    common = int(np.bincount(train[0], minlength=V)[:V].argmax())
    names = ("count", "model", "model_bits", "trigram", "trigram_bits", "commonest")
    totals = {name: np.zeros(len(chosen)) for name in names}
    for i, whole in enumerate(tqdm(chosen, desc="recovery")):
        row = whole[:length]
        known = np.flatnonzero(row < V)
        masked = np.zeros(len(row), bool)
        masked[draws.permutation(known)[: max(1, round(args.share * len(known)))]] = True
        valid = torch.from_numpy((row < V)[None])
        seen = np.where(masked, model.mask_id, np.where(row < V, row, 0)).astype(np.int64)
        ends = torch.tensor([[True, len(row) == len(whole)]])
        valid = None if bool(valid.all()) else valid
        logp = model.predict(torch.from_numpy(seen)[None], valid=valid, ends=ends)
        ours = logp[0, torch.from_numpy(masked)]
        theirs = posterior(probs, row, masked)
        true = row[masked].astype(np.int64)
        totals["count"][i] = masked.sum()
        totals["commonest"][i] = (true == common).sum()
        totals["model"][i] = (ours.argmax(-1).numpy() == true).sum()
        totals["trigram"][i] = (theirs.argmax(-1) == true).sum()
        of_true = ours.gather(1, torch.from_numpy(true)[:, None])
        totals["model_bits"][i] = -float(of_true.sum()) / math.log(2)
        totals["trigram_bits"][i] = -np.log2(theirs[np.arange(len(true)), true]).sum()
    group, count = data.families("test"), totals.pop("count")
    for what in ("", "_bits"):
        less = totals[f"model{what}"] - totals[f"trigram{what}"]
        totals[f"model_less_trigram{what}"] = less
    made: dict = {"share_masked": args.share, "residues": int(count.sum())}
    for name, total in totals.items():
        value, error = made[name] = ratio(total, count, group)
        if "bits" in name:
            print(f"{name:24} {value:.4f} +- {error:.4f} bits")
        else:
            print(f"{name:24} {100 * value:.2f} +- {100 * error:.2f} %")
    return made


def table(record: Path) -> list[str]:
    """Lines of Markdown: three tables of what `main` wrote."""
    found = read_json(record, {"bound": dict, "recovery": dict, "samples": dict})
    bound, recovered, drawn = found["bound"], found["recovery"], found["samples"]
    lines = [
        f"| bits per held-out residue, {bound['residues']:,} residues of {bound['sequences']:,} "
        "sequences | | this model less it |",
        "|---|---|---|",
    ]
    for order in ORDERS:
        of = bound[f"{order}-gram"]
        less = f"{of['model_less_ngram']:+.4f} ± {of['model_less_ngram_stderr']:.4f}"
        bits = f"{of['bits_per_residue']:.4f} ± {of['stderr']:.4f}"
        lines.append(f"| {order}-gram | {bits} | {less} |")
    bits = f"{bound['bits_per_residue']:.4f} ± {bound['stderr']:.4f}"
    noise = f"(noise of the masks alone {bound['noise']:.4f})"
    lines += [f"| **this model, an upper bound** | **{bits}** | {noise} |", ""]
    lines += [
        f"| {recovered['share_masked']:.0%} of the residues masked, first {bound['length']} of "
        f"each test sequence, {recovered['residues']:,} residues | likeliest is right | bits |",
        "|---|---|---|",
    ]
    names = {
        "commonest": "always the commonest",
        "trigram": "trigram, exact posterior given all others on both sides",
        "model": "**this model**",
        "model_less_trigram": "this model less the trigram",
    }
    for key, name in names.items():
        sign = "+" if "less" in key else ""
        right, error = (100 * value for value in recovered[key])
        of_bits = recovered.get(f"{key}_bits")
        said = "" if of_bits is None else f"{of_bits[0]:{sign}.3f} ± {of_bits[1]:.3f}"
        lines.append(f"| {name} | {right:{sign}.2f} ± {error:.2f} % | {said} |")
    lines += [
        "",
        f"| sequences of at most {drawn['longest']} residues | number | mean length; quartiles | "
        "begin with M | trigram bits | composition, total variation from training |",
        "|---|---|---|---|---|---|",
    ]
    kinds = {"samples": f"samples, {drawn['steps']} steps", "train": "training", "test": "test"}
    for key, name in kinds.items():
        of = drawn[key]
        quartiles = ", ".join(f"{value:g}" for value in of["length_quartiles"])
        length = f"{of['mean_length']:.1f} ± {of['mean_length_stderr']:.1f}; {quartiles}"
        first = f"{100 * of['begin_with_M']:.1f} ± {100 * of['begin_with_M_stderr']:.1f} %"
        score, error = of["3-gram_bits"]
        lines.append(
            f"| {name} | {of['sequences']:,} | {length} | {first} | {score:.3f} ± {error:.3f} | "
            f"{of['total_variation_from_train']:.3f} |"
        )
    apart, deviation = drawn["total_variation_of_as_many_training_sequences"]
    lines += ["", f"{drawn['num']} training sequences are {apart:.3f} ± {deviation:.3f} from all."]
    return lines


def main(argv: list[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--repeats", type=int, default=4, help="draws of masks for each window")
    parser.add_argument("--num", type=int, default=256, help="samples")
    parser.add_argument("--steps", type=int, default=64, help="of the sampler")
    what = "of the residues that are masked to be recovered"
    parser.add_argument("--share", type=float, default=0.15, help=what)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        check_out(str(args.out), ".json")
    except ValueError as error:
        sys.exit(f"proteins: {error}")
    tune_process()
    if args.threads:
        torch.set_num_threads(args.threads)
    model, data = MaskedDiffusion.from_pretrained(args.model), open_data(args.data)
    assert isinstance(data, ProteinData)
    train, test = (
        (np.asarray(data.tokens(split)), data.edges(split)) for split in ("train", "test")
    )
    weights = checkpoint.resolve(args.model) / "model.safetensors"
    record = {
        "unmask": __version__,
        "model_sha256": checkpoint.digest(weights),
        "data_sha256": data.meta["sha256"],
        "seed": args.seed,
        "clusters": data.meta.get("clusters"),  # without, homologues may be on both sides
        "recovery": recovery(model, data, args, train),
        "bound": bounds(model, data, args, train, test),
        "samples": samples(model, data, args, train),
    }
    checkpoint.write_json(args.out, record)
    print("\n".join(table(args.out)))


if __name__ == "__main__":
    main()
