"""CTGAN and TVAE (Xu et al., NeurIPS 2019) by the package `ctgan`.

Its licence is the Business Source License: it is measured where somebody installed it, and is no
dependency.
"""

import random
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import torch

from tabular.cells import Clock, Skipped
from tabular.method import Method
from tabular.sets import Part

EPOCHS = 300  # the package's own number, the most
WITHIN = 0.98  # of the budget


class OfPackage(Method):
    """A synthesizer with the package's settings, of as many epochs as fit into the budget.

    Their learning rates are constant, so fewer epochs are the same training, stopped earlier.
    """

    module = ""

    def fit(self, clock: Clock) -> None:
        if find_spec("ctgan") is None:
            raise Skipped("the package ctgan is not installed: pip install ctgan")
        import ctgan
        import joblib
        import pandas

        known, train = self.known, self.known.train
        columns: dict = {}
        for c, name in enumerate(known.table.names):
            if not known.number[c]:
                columns[name] = train.codes[:, c].astype(str)
            else:
                whole = known.decimals[c] == 0
                columns[name] = train.numbers[:, c].astype(int if whole else float)
        discrete = [name for name, is_number in zip(columns, known.number, strict=True)
                    if not is_number]  # fmt: skip
        self.model = getattr(ctgan, self.module.upper())(epochs=EPOCHS, enable_gpu=False)
        self.model.set_random_state(self.seed)
        random.seed(self.seed)
        np.random.seed(self.seed)
        torch.manual_seed(self.seed)
        source = getattr(ctgan.synthesizers, self.module)
        # in threads, where its processor time counts
        with joblib.parallel_config(backend="threading"), self.watched(source, clock):
            self.model.fit(pandas.DataFrame(columns), discrete)
        self.notes["ctgan"] = version("ctgan")

    @contextmanager
    def watched(self, source, clock: Clock):
        """Epochs end where another one would not fit; the package offers no other way."""

        def epochs(planned, **_):
            self.notes |= {"before the first epoch": round(clock.used, 1), "epochs": 0}
            longest = 0.0
            for epoch in planned:
                if epoch and WITHIN * clock.seconds - clock.used < longest:
                    return
                before = clock.used
                yield epoch
                longest = max(longest, clock.used - before)
                self.notes["epochs"] = epoch + 1

        before, source.tqdm = source.tqdm, epochs
        try:
            yield
        finally:
            source.tqdm = before

    def sample(self, n: int) -> Part:
        frame, known = self.model.sample(n), self.known
        codes = np.zeros((n, len(known.sizes)), np.int64)
        numbers = np.full(codes.shape, np.nan)
        for c, name in enumerate(known.table.names):
            if known.number[c]:
                numbers[:, c] = frame[name].to_numpy(float)
            else:
                codes[:, c] = frame[name].to_numpy(int)
        return known.rounded(Part(codes, numbers))


class CTGAN(OfPackage):
    name = "ctgan"
    module = "ctgan"
    about = "CTGAN of the package ctgan, its settings, 300 epochs or as many as fit"


class TVAE(OfPackage):
    name = "tvae"
    module = "tvae"
    about = "TVAE of the package ctgan, its settings, 300 epochs or as many as fit"
