"""Speed on this machine: ratios in one run, against the plain way of doing the same.

And against the machine's own matrix-product rate.  S: 4 layers, width 256, 256 values, 256 tokens,
batch 16.  H, the large-head case: 2 layers, width 256, 50,257 values, 256 tokens, batch 4.
"""

import platform
from pathlib import Path

import torch

from unmask import __version__
from unmask.bench import estimators, sampling, training
from unmask.bench.timing import Row
from unmask.device import tune_process
from unmask.diffusion import MaskedDiffusion


def run(what: tuple[str, ...], *, model: str, data: str, threads: int) -> dict:
    """Print (name, value, unit) rows of the chosen benchmarks; the same as a record."""
    tune_process()
    if threads:
        torch.set_num_threads(threads)
    chosen = {
        "head": training.head,
        "train": training.train,
        "estimator": lambda: estimators.estimator(model, data),
        "schedule-gradient": lambda: estimators.gradient(model, data),
        "unet": training.unet,
        "sampling": sampling.sampling,
        "idle-steps": sampling.idle_steps,
    }
    names = list(chosen) if "all" in what else list(what)
    demo = Path("demo") / "run"
    trained, curves = model or (demo if demo.is_dir() else ""), 0
    if trained and {"estimator", "schedule-gradient"} & set(names):
        curves = MaskedDiffusion.from_pretrained(trained).schedule.num_values
    lacking: dict[str, str] = {}  # by what is measured on a model that is not there, which one
    if curves != 1:
        of = "a trained model whose schedule has one curve for all values"
        lacking["estimator"] = f"{of}: run unmask demo first, or give --model and --data"
    if not model or curves < 2:
        of = "a model with a learned schedule: give --model and --data, after unmask train ..."
        lacking["schedule-gradient"] = f"{of} --schedule learned --time --focus 0"
    for name in [name for name in names if name in lacking]:
        if "all" not in what:
            raise ValueError(f"{name} is measured on {lacking[name]}")
        names.remove(name)
        print(f"{name}: left out, it is measured on {lacking[name]}")
    machine = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    print(f"unmask {__version__}, torch {torch.__version__}, {machine}\n")
    rows: list[Row] = []
    for name in names:
        for said, value, unit in chosen[name]():
            rows.append((f"{name}: {said}", value, unit))
            print(f"{rows[-1][0]:66} {value:>12,.4g} {unit}", flush=True)
    return {"torch": torch.__version__, "machine": machine, "rows": rows}
