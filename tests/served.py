"""Tiny models of five kinds, a server of them, and a client: for the tests of `unmask serve`."""

import http.client
import json
import shutil
import threading
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import dice
import numpy as np

from unmask import MaskedDiffusion
from unmask.config import TrainConfig
from unmask.data import prepare_images, prepare_proteins, prepare_table, prepare_text
from unmask.hub import find
from unmask.kinds.editor import editor_of
from unmask.kinds.registry import demos, kind_of
from unmask.serve.asking import Limits
from unmask.serve.models import Served
from unmask.serve.server import Server
from unmask.train import train

SMALL = TrainConfig(
    length=24, dim=16, layers=1, heads=2, batch_size=4, steps=2, eval_windows=2,
    dtype="float32", device="cpu", threads=1,
)  # fmt: skip
UNET = replace(
    SMALL, length=0, network="unet", widths="8,16", blocks=1, layers=0, dim=TrainConfig.dim
)
TEXT = "the quick brown fox \u2013 jumps over the lazy dog. " * 40
ROWS = [f"{20 + i % 40},{'abc'[i % 3]}x,{i * 37 % 997}" for i in range(200)]


def runs_of(home):
    """{name: the run's folder} of models that were trained for two steps."""
    shutil.copy(dice.Sorted.source, home)
    (home / "a.txt").write_text(TEXT, encoding="utf-8")
    (home / "a.csv").write_text("\n".join(["age,job,pay", *ROWS, ""]), encoding="utf-8")
    records = [f">{i}\n{'MKVLAG' * 2}{'ACDEFGHIKL'[i:]}\n" for i in range(8)]
    (home / "a.fasta").write_text("".join(records), encoding="utf-8")
    digits = demos()["digits"].source.with_name("digits-images-idx3-ubyte.gz")
    prepare_text(home / "a.txt", home / "text", progress=False)
    prepare_proteins(home / "a.fasta", home / "proteins", split="6,2,0", progress=False)
    prepare_images(digits, home / "images", levels=17, split="0.9,0.05,0.05", progress=False)
    prepare_table(home / "a.csv", home / "tables", bins=16, progress=False)
    dice.make_folder(home / "throws.txt", home / "dice")
    whole = replace(SMALL, length=0)
    own = {
        "text": replace(SMALL, length=48), "proteins": SMALL, "images": UNET, "tables": whole,
        "dice": whole,
    }  # fmt: skip
    return {
        name: train(config, home / name, home / f"{name}-run").parents[1]
        for name, config in own.items()
    }


def served(path):
    """A model as the verb offers it, in float32."""
    model = MaskedDiffusion.from_pretrained(path)
    kind = kind_of(model.meta["data"], find(path).folder)
    editor = editor_of(kind, model.meta["length"])
    return Served(str(path), model, kind, editor, nullcontext(), ("--dtype", "float32"))


@contextmanager
def serving(models, **limits):
    """A server on a free port, and a client of it."""
    server = Server(models, "127.0.0.1", 0, Limits(**limits))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server, Client(server)
    finally:
        server.shutdown()
        thread.join()
        server.close()


class Client:
    """Says what the page says."""

    def __init__(self, server):
        self.host, self.port = server.server_address[:2]
        self.token = server.guard.token

    def ask(self, method, path, body=None, **headers):
        """(status, headers, content); a header None is left out."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        sent = {"Content-Type": "application/json", "X-Token": self.token}
        sent = {k: v for k, v in (sent | headers).items() if v is not None}
        content = json.dumps(body).encode() if isinstance(body, dict | list) else body
        try:
            connection.request(method, path, content, sent)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def post(self, path, body):
        """(status, what was answered)."""
        status, _, content = self.ask("POST", path, body)
        return status, json.loads(content)

    def lines(self, path, body):
        status, _, content = self.ask("POST", path, body)
        assert status == 200, content
        return [json.loads(line) for line in content.splitlines()]


def settings(**own):
    usual = {
        "sampler": "ancestral", "steps": 0, "grid": "cosine", "temperature": 1, "top_p": 1,
        "gamma": 0.1, "eta": 0.02, "corrections": 1, "guidance": 0,
        "seed": 0, "num": 1, "score": False,
    }  # fmt: skip
    return usual | own


def picture(seed=0):
    """(8, 8) of the values that the model of digits has."""
    return (np.random.default_rng(seed).integers(0, 17, (8, 8)) * 15).astype(np.uint8)
