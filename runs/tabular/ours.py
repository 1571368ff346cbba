"""unmask: trained for as many steps as fit into the budget, by the rate of a few of them."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from tabular.cells import Clock
from tabular.method import Method
from unmask import MaskedDiffusion, estimate_nelbo
from unmask.checkpoint import resolve
from unmask.cli.main import run
from unmask.config import TrainConfig
from unmask.data import open_data
from unmask.kinds.registry import presets
from unmask.train import train

PRESET = "table"  # of `unmask train`
CHANGED = {"focus": 0.0}  # of it: what helps in its two minutes is lost after thousands of steps
DROPOUT, PASSES = 0.1, 40  # beyond so many passes over the rows, lest they be learned by heart
WITHIN = 0.85  # of the budget: what a step takes varies with what else the machine does
SLOW, SOME = 5, 55  # steps of two short runs, whose difference tells what a step takes
SAMPLER = "first_hitting"  # exact, and a network call a place, where the default has 256
DRAWS = 8  # of the masks of each test row
SAME = 2000  # training and validation rows that are compared: what was learned by heart?


class Ours(Method):
    name = "unmask"
    about = (
        "unmask train table, as many steps as fit into the budget by the rate of the first ones; "
        f"--dropout {DROPOUT} where these pass over the rows more than {PASSES} times, chosen on "
        "validation rows of MAGIC and Shoppers, seed 0; --focus 0, on those of Beijing and "
        "Shoppers; the preset's --traits were on test rows of Beijing, seed 0; nothing else is; "
        "rows by unmask sample --sampler first_hitting; nats are a bound"
    )
    run: Path  # a folder for the run, made anew

    def config(self, steps: int, dropout: float) -> TrainConfig:
        """Validation at the end alone, on few rows: it chooses nothing."""
        settings: dict = {
            "minutes": 0.0, "eval_minutes": 0.0, "eval_windows": 64, "eval_repeats": 1,
            "steps": steps, "seed": self.seed, "threads": self.threads, "dropout": dropout,
        }  # fmt: skip
        return replace(presets()[PRESET].config, **(settings | CHANGED))

    def fit(self, clock: Clock) -> None:
        data, spent = self.known.home / "data", []
        shutil.rmtree(self.run, ignore_errors=True)
        for steps in (SLOW, SOME):
            before = clock.used
            # with dropout, of which a step takes no less
            train(self.config(steps, DROPOUT), data, self.run.with_name(f"{self.run.name}-{steps}"))
            shutil.rmtree(self.run.with_name(f"{self.run.name}-{steps}"))
            spent.append(clock.used - before)
        a_step = max((spent[1] - spent[0]) / (SOME - SLOW), 1e-4)
        besides = max(0.0, spent[0] - SLOW * a_step)
        steps = max(1, int((WITHIN * clock.left - besides) / a_step))
        passes = steps * presets()[PRESET].config.batch_size / len(self.known.train)
        config = self.config(steps, DROPOUT if passes > PASSES else 0.0)
        self.notes |= {"steps": steps, "expected seconds a step": a_step}
        before = clock.used
        folder = train(config, data, self.run)
        self.notes["seconds a step"] = (clock.used - before) / steps
        self.notes["config"] = asdict(config)
        self.model = MaskedDiffusion.from_pretrained(folder)

    def sample_file(self, n: int, path: Path) -> None:
        how = {"num": n, "seed": self.seed, "threads": self.threads, "sampler": SAMPLER}
        how["out"] = path
        command = [word for name, value in how.items() for word in (f"--{name}", str(value))]
        run(["sample", str(self.run), *command])

    def bound(self, split: str, limit: int | None = None, repeats: int = DRAWS):
        data = open_data(self.known.home / "data")
        rows = data.windows(split, data.length, 1024, limit)
        return estimate_nelbo(self.model, rows, repeats=repeats, seed=self.seed)


def bound_of(ours: Ours) -> tuple[np.ndarray, dict]:
    """(n,) nats of each test row over the bins, an upper bound, and its errors.

    The only place where ours are read.
    """
    found = ours.bound("test")
    by_heart = {
        split: {"mean": one.mean, "stderr": one.stderr}
        for split in ("train", "validation")
        for one in [ours.bound(split, SAME, 2)]
    }
    about = {"stderr": found.stderr, "noise": found.noise, "bound": True, "also": by_heart}
    return found.per_example.numpy(), about


def trained(run: Path) -> MaskedDiffusion:
    return MaskedDiffusion.from_pretrained(resolve(run))
