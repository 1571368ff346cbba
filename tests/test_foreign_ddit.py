"""MDLM, SEDD, RADD and MDM-Prime, read from the files that they write: what their own networks and
losses make of the same inputs (golden/foreign)."""

import itertools
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
from safetensors.torch import save_file

import unmask
from unmask.backbones import DDiT, shapes_alone
from unmask.backbones.ddit import sigma_features
from unmask.cli import main
from unmask.importers import mdlm, mdm_prime, radd, sedd
from unmask.importers.ddit import Sizes, table
from unmask.importers.sources import OfSEDD, OfTexts
from unmask.importers.torch_files import TorchFile
from unmask.importers.weights import hydra_config
from unmask.likelihood import exact_nelbo
from unmask.masks import Draw

GOLDEN = Path(__file__).parent / "golden" / "foreign"
MDLM, SEDD, RADD = GOLDEN / "mdlm" / "mdlm.ckpt", GOLDEN / "sedd" / "run", GOLDEN / "radd" / "run"
PRIME = {n: next((GOLDEN / "prime").glob(f"*_l{n}_*")) for n in (2, 3)}
EXACT, SINGLE = 1e-11, 3e-5  # of float64 and float32
# sigma's frequencies are float32 in the references, of another machine's exponential function
OF_SIGMA = 1e-6


def flags(tokenizer="", length=0):
    return OfTexts(tokenizer=tokenizer, length=length)


def of_sedd(tokenizer="ids", length=0, **how):
    return OfSEDD(tokenizer=tokenizer, length=length, **how)


def golden(folder):
    with np.load(folder / "outputs.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def draw_of(t, masked):
    """The draw of a reference's loss, whose nats it divides by t."""
    t = t.double()
    return Draw(t, masked, 1 / t)


def close(found, expected, tolerance):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def hub_folder(folder, tensors, config):
    """As save_pretrained writes it."""
    folder.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()},
              folder / "model.safetensors")  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def raw_mdlm():
    """The raw weights of mdlm.ckpt, which are those of its folder for the Hub."""
    return {name: one.read() for name, one in TorchFile(MDLM).content["state_dict"].items()}


def config_of(project, **changed):
    return json.loads((GOLDEN / project / "hf" / "config.json").read_text()) | changed


# ---------------------------------------------------------------- what the networks say


def test_mdlm_of_lightning_is_its_averaged_weights():
    """Logits, log-probabilities with carry-over, and the loss, which is a draw of the bound."""
    found, out = mdlm.read(MDLM, flags()), golden(MDLM.parent)
    z, x, t = out["in/ids"], out["in/x0"], out["in/t"]
    close(found.model.backbone(z), out["ema/logits"][..., :10], SINGLE)
    model = found.model.double()
    close(model.backbone(z), out["ema_f64/logits"][..., :10], EXACT)
    masked = z == 10
    logp = model.predict(z, t)
    close(logp[masked], out["ema_f64/log_probs"][masked][:, :10], EXACT)
    assert torch.equal(logp[~masked].exp(), torch.nn.functional.one_hot(z[~masked], 10).double())
    batch = model.clean(x)
    assert torch.equal(model.masked(batch, masked), z)
    close(model.score(batch, draw_of(t, masked))[1], out["ema_f64/loss"].sum(1), EXACT)
    assert "averaged (EMA)" in found.said[1] and found.model.meta["length"] == 12


def test_mdlm_of_the_hub_is_what_its_folder_holds(tmp_path):
    out = golden(MDLM.parent)
    folder = hub_folder(tmp_path / "hf", raw_mdlm(), config_of("mdlm"))
    found = mdlm.read(folder, flags("ids"))
    close(found.model.backbone(out["in/ids"]), out["raw/logits"][..., :10], SINGLE)
    assert found.model.meta["data"]["tokenizer"] == {"name": "ids", "vocab_size": 10}
    assert not found.files and "does not say whether" in found.said[1]


def test_a_mask_may_be_one_of_the_tokenizers_own(tmp_path):
    """As BERT's: ids stay as they are, and the mask's own is never drawn and never given."""
    model = tokenizers.models.WordLevel({**{str(i): i for i in range(11) if i != 4}, "[MASK]": 4})
    tokenizers.Tokenizer(model).save(str(tmp_path / "tokenizer.json"))
    folder = hub_folder(tmp_path / "hf", raw_mdlm(), config_of("mdlm"))
    out = golden(MDLM.parent)
    found = mdlm.read(folder, flags(str(tmp_path / "tokenizer.json"))).model
    assert found.mask_id == 11 and found.meta["data"]["vocab_size"] == 11
    z = out["in/ids_mask4"]
    masked = z == 4
    logp = found.double().predict(z.masked_fill(masked, 11))[masked]
    expected = out["mask4_f64/log_probs"][masked]
    others = torch.arange(11) != 4
    close(logp[:, others], expected[:, others], EXACT)
    assert bool((logp[:, 4] == -torch.inf).all()) and bool((expected[:, 4] < -1e5).all())
    with pytest.raises(
        ValueError, match="value 4, at position 1 .example 0., is none that this network knows"
    ):
        found.clean(torch.tensor([[3, 4]]))


def test_what_was_added_to_a_vocabulary_is_left_out(tmp_path):
    """The [PAD] of MDLM's code: its id is the mask's."""
    letters = {"abcdefghi"[i]: i for i in range(9)} | {"<|endoftext|>": 9}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(letters, []))
    made.add_special_tokens(["<|endoftext|>", "[PAD]"])
    made.save(str(tmp_path / "tokenizer.json"))
    assert made.token_to_id("[PAD]") == 10
    folder = hub_folder(tmp_path / "hf", raw_mdlm(), config_of("mdlm"))
    found = mdlm.read(folder, flags(str(tmp_path / "tokenizer.json")))
    assert found.model.meta["data"]["tokenizer"] == {"name": "subwords", "vocab_size": 10, "eot": 9}
    assert b"[PAD]" not in found.files["tokenizer.json"] and found.model.mask_id == 10


def test_mdlm_that_looks_at_the_time_is_told_sigma(tmp_path):
    out = golden(MDLM.parent)
    config = config_of("mdlm", time_conditioning=True)
    found = mdlm.read(hub_folder(tmp_path / "hf", raw_mdlm(), config), flags("ids"))
    z, x, t, masked = out["in/ids"], out["in/x0"], out["in/t"], out["in/ids"] == 10
    model = found.model.double()
    logp = model.predict(z, t.double())
    close(logp[masked], out["raw_f64/time/log_probs"][masked][:, :10], OF_SIGMA)
    nats = model.score(model.clean(x), draw_of(t, masked))[1]
    close(nats, out["raw_f64/time/loss"].sum(1), OF_SIGMA)
    # sigma itself: alpha = 1 - (1 - eps) t
    close(-torch.log1p((model.backbone.eps - 1) * t.double()), out["t/sigma"], 1e-7)


def test_sedd_with_its_scores_normalised():
    """Of both sides of its switch in expm1; and what its own loss is beside ours, in closed form.

    Its loss at a masked position is (-log q(x) + Z - 1) / t with q = exp(raw) / (V - 1), not
    normalised, and Z the sum of q; ours is -log (q(x) / Z) / t.  So theirs - ours = (Z - 1 -
    log Z) / t, which is never negative.
    """
    model, out = sedd.read(SEDD, of_sedd(normalised=True)).model, golden(SEDD.parent)
    z, x, t, masked = out["in/ids"], out["in/x0"], out["in/t"], out["in/ids"] == 10
    theirs = out["ema/scale1/log_score_at_t"][..., :10].log_softmax(-1)
    close(model.predict(z, t)[masked], theirs[masked], SINGLE)
    model = model.double()
    score = out["ema_f64/scale1/log_score_at_t"][..., :10]
    logp = model.predict(z, t.double())
    close(logp[masked], score.log_softmax(-1)[masked], OF_SIGMA)
    alpha = 1 - (1 - 1e-3) * t.double()
    total = (score + torch.log((1 - alpha) / alpha)[:, None, None]).exp().sum(-1)
    over = ((total - 1 - total.log()) * masked).sum(1) / t
    nats = model.score(model.clean(x), draw_of(t, masked))[1]
    close(nats + over, out["ema_f64/scale1/loss"], 1e-5)
    assert over.min() > 0.01  # it is another model


def score_entropy(model, x):
    """The paper's bound (arXiv 2310.16834, with the absorbing rates) of one sequence (S,), from log
    s of the imported network: the integral over sigma, of which q(masked) = 1 - e^-sigma = t, of
    sum_y s_y - r log s_x + r (log r - 1) at every masked position, r = 1 / (e^sigma - 1)."""
    step, total = 1 / 16, 0.0
    v = torch.arange(-5.5, 3.5, step, dtype=torch.float64)
    at = torch.pi * torch.sinh(v)
    t, sigma = torch.sigmoid(at), torch.nn.functional.softplus(at)
    dsigma = step * torch.pi * torch.cosh(v) * t
    ratio = 1 / torch.expm1(sigma)
    for hidden in list(itertools.product((False, True), repeat=len(x)))[1:]:
        hidden = torch.tensor(hidden)
        z = torch.where(hidden, 10, x).expand(len(t), -1)
        raw = model.backbone(z, t)[..., :10].detach()
        log_s = raw - torch.log(torch.expm1(sigma))[:, None, None] - math.log(10)
        of_truth = log_s.gather(-1, x.expand(len(t), -1)[..., None])[..., 0]
        each = log_s.exp().sum(-1) - ratio[:, None] * of_truth
        each = each + (ratio * (ratio.log() - 1))[:, None]
        chance = torch.where(hidden, t[:, None], 1 - t[:, None]).prod(1)
        total += float((dsigma * chance * (each * hidden).sum(1)).sum())
    return total


def test_sedd_as_published_has_the_papers_bound(tmp_path):
    """Of the folder that the command writes, by each of the ways in."""
    assert main(["import", "sedd", str(SEDD), str(tmp_path / "m"), "--tokenizer=ids"]) == 0
    model = unmask.rivals.open_model(tmp_path / "m").double()
    assert type(model) is unmask.rivals.SEDD and type(model.schedule) is unmask.schedules.Linear
    x = torch.tensor([[3, 7], [9, 1]])
    known = torch.tensor([score_entropy(model, row) for row in x])
    close(exact_nelbo(model, x).detach(), known.double(), 1e-6)
    drawn = unmask.estimate_nelbo(model, [x], repeats=500, seed=0)
    assert abs(drawn.mean - float(known.mean())) < 4 * drawn.noise < 0.4 * drawn.mean
    plain = sedd.read(SEDD, of_sedd(normalised=True)).model.double()
    assert bool((exact_nelbo(plain, x) < known - 0.1).all())  # Z is not 1


def geometric(folder, most="20"):
    """The run, as if it had been trained with that noise."""
    shutil.copytree(SEDD, folder)
    yaml = folder / ".hydra" / "config.yaml"
    said = yaml.read_text().replace("type: loglinear", "type: geometric")
    yaml.write_text(said.replace("  sigma_max: 20\n", f"  sigma_max: {most}\n" if most else ""))
    return folder


def test_sedd_of_geometric_noise_is_told_its_sigma(tmp_path):
    """At the same sigma a network says the same, whichever noise led there: at that at which as
    many are masked as here, and never at more than it was trained with."""
    model = sedd.read(geometric(tmp_path / "run"), of_sedd()).model.double()
    out = golden(SEDD.parent)
    sigma, z = out["in/sigma"].double(), out["in/ids"]
    theirs = out["ema_f64/scale1/log_score_at_sigma"][..., :10]
    ours, masked = model.log_scores(z, -torch.expm1(-sigma)), z == 10
    close(ours[masked], theirs[masked], OF_SIGMA)
    with pytest.raises(ValueError, match=r"sigma_max 3, at which 0.05 of the tokens are visible"):
        sedd.read(geometric(tmp_path / "short", "3"), of_sedd())
    ends = {
        "3": sedd.read(tmp_path / "short", of_sedd(normalised=True)).model,
        "8": sedd.read(geometric(tmp_path / "long", "8"), of_sedd()).model,
    }
    for most, ended in ends.items():
        told = []
        ended = ended.double()
        ended.backbone.sigma.register_forward_pre_hook(lambda _, seen, told=told: told.append(seen))
        t = torch.tensor([0.1, 0.9, 1 - 1e-5, 1.0], dtype=torch.float64)
        ended.predict(z[:1].expand(4, -1), t)
        sigma = [-math.log1p(-0.1), -math.log1p(-0.9), float(most), float(most)]
        close(told[0][0], sigma_features(torch.tensor(sigma, dtype=torch.float64)), EXACT)
    for wrong, said in (
        ("", "does not say noise.sigma_max"),
        ("-1", "sigma_max is -1: give its true value"),
        ("9" * 40, "give its true value"),
    ):
        with pytest.raises(ValueError, match=said):
            sedd.read(geometric(tmp_path / f"{len(wrong)} digits", wrong), of_sedd())


def test_every_verb_of_sedd_takes_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["import", "sedd", str(SEDD), "m", "--tokenizer=ids"]) == 0
    assert "its bound is of the score entropy; --normalised makes" in capsys.readouterr().out
    np.save("ids.npy", np.arange(400, dtype=np.uint16) % 10)
    assert main(["prepare", "text", "ids.npy", "data", "--vocab-size", "10"]) == 0
    small = ["--data", "data", "--limit=4", "--repeats=4", "--json=eval.json"]
    assert main(["eval", "m", *small]) == 0
    record = json.loads(Path("eval.json").read_text())
    assert record["estimator"].startswith("score entropy, continuous time")
    assert main(["sample", "m", "--num=2", "--steps=4"]) == 0
    brief = ["--steps=2", "--batch-size=4", "--length=8", "--eval-windows=4"]
    tune = ["train", "tune-text", "--data", "data", "--out", "run", "--from", "m"]
    assert main([*tune, *brief]) == 0
    assert type(unmask.rivals.open_model("run")) is unmask.rivals.SEDD
    capsys.readouterr()
    assert main(["audit", "m"]) == 2 and "audit is not for --rival sedd" in capsys.readouterr().err


def test_scores_that_are_not_scaled_are_normalised_or_refused(tmp_path):
    """The scale of all scores of a position is what normalising takes away."""
    shutil.copytree(SEDD, tmp_path / "run")
    yaml = tmp_path / "run" / ".hydra" / "config.yaml"
    written = yaml.read_text()
    for line, said in (
        ("  scale_by_sigma: false\n", "has scale_by_sigma false: only scores that are scaled"),
        ("", "does not say model.scale_by_sigma"),
    ):
        yaml.write_text(written.replace("  scale_by_sigma: true\n", line))
        with pytest.raises(ValueError, match=said):
            sedd.read(tmp_path / "run", of_sedd())
        sedd.read(tmp_path / "run", of_sedd(normalised=True))


def test_radd_is_its_network_without_time():
    """Logits and its denoising loss, which is the bound."""
    model, out = radd.read(RADD, flags("ids")).model, golden(RADD.parent)
    z, x, t, masked = out["in/ids"], out["in/x0"], out["in/t"], out["in/ids"] == 10
    close(model.backbone(z), out["ema/logits"][..., :10], SINGLE)
    model = model.double()
    assert not model.uses_time
    close(model.backbone(z), out["ema_f64/logits"][..., :10], EXACT)
    close(model.predict(z)[masked], out["ema_f64/log_probs"][masked][:, :10], EXACT)
    nats = model.score(model.clean(x), draw_of(t, masked))[1]
    close(nats, out["ema_f64/loss/t_DSE"], EXACT)


@pytest.mark.parametrize("digits", [2, 3])
def test_prime_is_its_network_and_carries_over(digits):
    """Logits; log-probabilities and the joint loss of the reference with carry-over."""
    folder = PRIME[digits]
    model, out = mdm_prime.read(folder, flags()).model, golden(folder)
    z, x, t = out["in/y"], out["in/x0"], out["in/t"]
    assert model.mask_id == int(out["in/base"]) and model.subtokenizer.length == digits
    assert torch.equal(model.subtokenizer.encode(x), out["in/y0"])
    close(model.backbone(z), out["ema/logits"], SINGLE)
    model = model.double()
    close(model.backbone(z), out["ema_f64/logits"], EXACT)
    masked = z == model.mask_id
    close(model.predict(z), out["ema_f64/co1/log_probs"], EXACT)
    batch = model.clean(x)
    assert torch.equal(model.masked(batch, masked), z)
    joint = model.score(batch, draw_of(t, masked), joint=True)[1]
    close(joint, out["ema_f64/co1/loss"].sum(1), EXACT)


@pytest.mark.parametrize("digits", [2, 3])
def test_prime_reports_the_valid_bound(digits):
    """From the reference's logits, token by token: each masked digit pays for itself, given the
    visible digits of its token alone."""
    folder = PRIME[digits]
    model, out = mdm_prime.read(folder, flags()).model.double(), golden(folder)
    z, x, t, base = out["in/y"], out["in/x0"], out["in/t"], int(out["in/base"])
    logits = out["ema_f64/logits"]
    expected = []
    for b in range(len(x)):
        nats = 0.0
        for s in range(x.shape[1]):
            seen = z[b, s * digits : (s + 1) * digits].tolist()
            spelled = [
                [v // base ** (digits - 1 - j) % base for j in range(digits)] for v in range(27)
            ]
            possible = [v for v in range(27)
                        if all(d in (base, own) for d, own in zip(seen, spelled[v]))]  # fmt: skip
            weights = {v: float(p) for v, p in zip(possible, logits[b, s, possible].softmax(-1))}
            true = spelled[int(x[b, s])]
            for j in range(digits):
                if seen[j] == base:
                    hit = sum(p for v, p in weights.items() if spelled[v][j] == true[j])
                    nats -= np.log(hit)
        expected.append(nats / float(t[b]))
    found = model.score(model.clean(x), draw_of(t, z == base))[1]
    close(found, torch.tensor(expected, dtype=torch.float64), 1e-10)


def test_prime_of_one_digit_is_a_model_of_whole_tokens(tmp_path):
    """Its network has no row for the mask in its head; else it is MDLM's."""
    tensors = raw_mdlm()
    for name in ("weight", "bias"):
        whole = tensors[f"backbone.output_layer.linear.{name}"]
        tensors[f"backbone.output_layer.linear.{name}"] = whole[:10]
    said = {"parameterization": "subs", "time_conditioning": False, "model": {"length": 12}}
    prime = mdm_prime.read(hub_folder(tmp_path / "one", tensors, said), flags("ids")).model
    other = mdlm.read(hub_folder(tmp_path / "hf", raw_mdlm(), config_of("mdlm")), flags("ids"))
    z = golden(MDLM.parent)["in/ids"]
    # the same weights in other places of memory may be multiplied in another order
    torch.testing.assert_close(prime.predict(z), other.model.predict(z))


def test_settings_may_lie_beside_a_checkpoint_of_lightning_that_has_none(tmp_path):
    content = TorchFile(MDLM).content
    averaged = [one.read() for one in content["ema"]["shadow_params"]]
    path, kept = tmp_path / "a.ckpt", {"ema": {"shadow_params": averaged}}
    torch.save(kept | {"state_dict": raw_mdlm()}, path)
    with pytest.raises(ValueError, match="says neither parameterization nor model_type"):
        mdlm.read(path, flags("ids"))
    (tmp_path / "config.json").write_text(json.dumps(config_of("mdlm")))
    found = mdlm.read(path, flags("ids"))
    alike(found, mdlm.read(MDLM, flags()))
    assert found.model.meta["length"] == 12 and "averaged (EMA)" in found.said[1]


def test_settings_may_lie_beside_a_checkpoint_that_was_taken_out_of_its_run(tmp_path):
    path = shutil.copy(SEDD / "checkpoints-meta" / "checkpoint.pth", tmp_path / "a.pth")
    with pytest.raises(ValueError, match="does not say"):
        sedd.read(path, of_sedd())
    settings = hydra_config(SEDD / ".hydra" / "config.yaml")
    (tmp_path / "config.json").write_text(json.dumps(settings))
    alike(sedd.read(path, of_sedd()), sedd.read(SEDD, of_sedd()))


def test_a_checkpoint_is_found_from_inside_its_run(tmp_path, monkeypatch):
    """Paths that do not say which folders they are in."""
    inside = shutil.copytree(SEDD, tmp_path / "run") / "checkpoints-meta"
    (inside / "more").mkdir()
    for place, path in ((inside, "checkpoint.pth"), (inside / "more", "../checkpoint.pth")):
        monkeypatch.chdir(place)
        alike(sedd.read(Path(path), of_sedd()), sedd.read(SEDD, of_sedd()))


def alike(found, known):
    theirs = known.model.state_dict()
    assert all(torch.equal(theirs[name], w) for name, w in found.model.state_dict().items())
    assert found.model.config["backbone"] == known.model.config["backbone"]


# ---------------------------------------------------------------- models like any others


@pytest.mark.parametrize("read, source, said", [
    (mdlm.read, MDLM, flags()), (sedd.read, SEDD, of_sedd()), (radd.read, RADD, flags("ids")),
    (mdm_prime.read, PRIME[3], flags())
])  # fmt: skip
def test_a_folder_is_read_back_without_the_original(tmp_path, read, source, said):
    found = read(source, said)
    found.model.save_pretrained(tmp_path / "model", found.files)
    again = unmask.rivals.open_model(tmp_path / "model")
    z = torch.full((2, 8 * again.subtokenizer.length), again.mask_id)
    t = torch.tensor(0.4)
    weights = again.state_dict()
    assert all(torch.equal(weights[name], w) for name, w in found.model.state_dict().items())
    torch.testing.assert_close(again.predict(z, t), found.model.predict(z, t))
    assert again.meta == found.model.meta
    again.train()(torch.zeros(2, 8, dtype=torch.long)).loss.backward()
    assert all(p.grad is not None for name, p in again.named_parameters() if "blocks" in name)


@pytest.mark.parametrize("read, source", [(mdlm.read, MDLM), (mdm_prime.read, PRIME[2])])
def test_every_verb_takes_one(tmp_path, monkeypatch, capsys, read, source):
    monkeypatch.chdir(tmp_path)
    found = read(source, flags())
    found.model.save_pretrained("model", found.files)
    Path("text.txt").write_text("abcdefghihgfedcba" * 40)
    assert main(["prepare", "text", "text.txt", "data", "--tokenizer", "model"]) == 0
    small = ["--limit=4", "--repeats=2", "--json=eval.json"]
    assert main(["eval", "model", "--data", "data", *small]) == 0
    record = json.loads(Path("eval.json").read_text())
    assert record["unit"] == "bits per token" and np.isfinite(record["value"])
    assert main(["sample", "model", "--num=2", "--steps=4"]) == 0
    Path("holes.txt").write_text("abc[MASK:3]gh")
    capsys.readouterr()
    assert main(["fill", "model", "holes.txt", "--steps=4"]) == 0
    filling = capsys.readouterr().out
    assert filling.startswith("abc") and filling.rstrip("\n").endswith("gh")
    Path("lines.txt").write_text("abcdef\nfedcba\n")
    assert main(["score", "model", "lines.txt", "--out=scores.csv", "--repeats=2"]) == 0
    assert Path("scores.csv").read_text().count("\n") == 3
    assert main(["audit", "model", "--data", "data"]) == 0


def test_training_goes_on_from_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["import", "mdlm", str(MDLM), "model"]) == 0
    Path("text.txt").write_text("abcdefghihgfedcba" * 20)
    assert main(["prepare", "text", "text.txt", "data", "--tokenizer", "model"]) == 0
    brief = ["--steps=2", "--batch-size=4", "--length=8", "--eval-windows=4"]
    tune = ["train", "tune-text", "--data", "data", "--out", "run", "--from", "model"]
    assert main([*tune, *brief]) == 0
    assert main(["eval", "run", "--data", "data", "--limit=2"]) == 0


def test_weights_that_nobody_calls_averaged_are_not_called_so(tmp_path, monkeypatch, capsys):
    """Those of a folder of the Hub; those of a checkpoint of Lightning are."""
    monkeypatch.chdir(tmp_path)
    hub_folder(tmp_path / "hf", raw_mdlm(), config_of("mdlm"))
    assert main(["import", "mdlm", str(MDLM), "averaged"]) == 0
    assert main(["import", "mdlm", "hf", "raw", "--tokenizer", "averaged"]) == 0
    Path("text.txt").write_text("abcdefghihgfedcba" * 40)
    assert main(["prepare", "text", "text.txt", "data", "--tokenizer", "raw"]) == 0
    for model, said in (("averaged", "averaged weights of"), ("raw", "weights as imported of")):
        scored = ["--data", "data", "--limit=2", "--repeats=1", f"--json={model}.json"]
        assert main(["eval", model, *scored]) == 0
        assert f", {said} {model}" in capsys.readouterr().out
    assert json.loads(Path("averaged.json").read_text())["weights"] == "ema"
    assert json.loads(Path("raw.json").read_text())["weights"] == "as imported"


def test_the_command_says_what_it_took(tmp_path, capsys):
    assert main(["import", "mdlm", str(MDLM), str(tmp_path / "model")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{tmp_path / 'model'}: DDiT of 37,738 weights, 10 tokens"
    assert said[1] == "  its averaged (EMA) weights were taken"
    assert said[2:] == ["  it ignores t", "  its mask is row 10 of 11"]
    assert (
        main(
            ["import", "sedd", str(SEDD), str(tmp_path / "sedd"), "--tokenizer=ids", "--normalised"]
        )
        == 0
    )
    assert "another model than SEDD as published" in capsys.readouterr().out
    duo = GOLDEN / "duo" / "duo.ckpt"
    assert main(["import", "mdlm", str(duo), str(tmp_path / "duo")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("unmask import: ") and error.count("\n") == 1
    assert "uniform diffusion replaces tokens" in error and not (tmp_path / "duo").exists()
    assert main(["import", "sedd", str(SEDD), str(tmp_path / "a"), "--tokenizer=bytes"]) == 2
    assert "10 tokens beside its mask, and the tokenizer has 256" in capsys.readouterr().err


def test_no_import_takes_the_place_of_what_it_reads_or_of_where_it_runs(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["import", "mdlm", str(MDLM), "."]) == 2
    assert "name a folder inside it" in capsys.readouterr().err
    assert main(["import", "mdlm", str(MDLM), str(tmp_path)]) == 2
    units = unmask.Subtokenizer(4)
    network = DDiT(4, dim=16, layers=1, heads=2)
    model = unmask.MaskedDiffusion(network, unmask.schedules.Linear(), units)
    with pytest.raises(ValueError, match="the current folder is in it.: name a folder inside it"):
        model.save_pretrained(".")
    assert Path.cwd() == tmp_path / "here"
    source = tmp_path / "model.ckpt"
    source.write_bytes(MDLM.read_bytes())
    assert main(["import", "mdlm", str(source), "made", "--json", str(source)]) == 2
    assert "would overwrite the input" in capsys.readouterr().err
    (tmp_path / "config.json").write_text("{}")
    said = str(tmp_path / "config.json")
    assert main(["import", "mdlm", str(source), "made", "--json", said]) == 2
    assert (tmp_path / "config.json").read_text() == "{}" and not Path("made").exists()


def test_the_published_mdlm_has_as_many_weights_as_its_card_says():
    """169.6 million: of 12 blocks of 768, 130 tensors in the order of the parameters."""
    sizes = Sizes(50258, 768, 768, 12, 12, 128, norm_bias=False, values=50258, dropout=0.1)
    rows = list(table(sizes))
    assert sum(math.prod(row.shape) for row in rows) == 169_627_218 and len(rows) == 130
    with shapes_alone():
        network = DDiT(50257, dim=768, layers=12, heads=12, condition=128)
    # the head of a model here has no row for the mask
    assert sum(p.numel() for p in network.parameters()) == 169_627_218 - 769


def test_lengths_and_absences_are_heeded():
    """What a row without a value holds says nothing to the others."""
    network = mdlm.read(MDLM, flags()).model.backbone
    z = torch.randint(0, 11, (2, 9), generator=torch.Generator().manual_seed(0))
    valid = torch.arange(9) < torch.tensor([[9], [5]])
    whole = network(z, valid=valid)
    close(whole[1:, :5], network(z[1:, :5]), SINGLE)
    assert not torch.allclose(whole[1:, :5], network(z)[1:, :5], atol=1e-3)


# ---------------------------------------------------------------- what is refused


def renamed(tensors):
    tensors["backbone.blocks.1.mlp.0.weights"] = tensors.pop("backbone.blocks.1.mlp.0.weight")


def missing(tensors):
    del tensors["backbone.output_layer.adaLN_modulation.bias"]


def more(tensors):
    tensors["backbone.blocks.0.mlp.4.weight"] = torch.ones(2)


def shorter(tensors):
    tensors["backbone.blocks.1.attn_out.weight"] = torch.ones(32, 31)


def not_finite(tensors):
    tensors["backbone.blocks.0.norm1.weight"][3] = torch.nan


def other_base(tensors):
    tensors["backbone.rotary_emb.inv_freq"] = 500000.0 ** (-torch.arange(0, 16, 2) / 16)


def scalar(tensors):
    tensors["backbone.rotary_emb.inv_freq"] = torch.tensor(1.0)


def no_heads(tensors):
    del tensors["backbone.rotary_emb.inv_freq"]


def bert(tensors):
    tensors.clear()
    tensors["bert.embeddings.word_embeddings.weight"] = torch.ones(3, 2)


@pytest.mark.parametrize("change, config, said", [
    (renamed, {}, "has no tensor blocks.1.mlp.0.weight, which a DDiT of these sizes has"),
    (missing, {}, "has no tensor output_layer.adaLN_modulation.bias"),
    (more, {}, "has a tensor blocks.0.mlp.4.weight, which a DDiT of these sizes has not"),
    (shorter, {}, r"blocks.1.attn_out.weight has the shape \(32, 31\), expected \(32, 32\)"),
    (not_finite, {}, "blocks.0.norm1.weight has values that are not finite"),
    (other_base, {}, "is not of base 10,000"),
    (no_heads, {"n_heads": None}, "does not say how many heads"),
    (None, {"n_heads": 4}, "is of heads of width 16, .* its configuration says 4 heads"),
    (bert, {}, "is no network that is known here: it has bert.embeddings.*known is the DDiT"),
    (None, {"model_type": "bert"}, "says model_type 'bert', and of mdlm 'mdlm' is read: known are"),
    (None, {"model_type": "bd3lm"}, "says model_type 'bd3lm'"),
    (None, {"algo": {"name": "bd3lm", "parameterization": "subs"}}, "says algo.name 'bd3lm'"),
    (None, {"algo": {"name": "mdlm", "causal_attention": True}}, "algo.causal_attention True"),
    (None, {"parameterization": "ar"}, "says parameterization 'ar'"),
    (None, {"model_type": None}, "says neither parameterization nor model_type"),
    (scalar, {}, r"rotary_emb.inv_freq has the shape \(\)"),
    (None, {"model_type": "DUO"}, "is a DUO model: uniform diffusion replaces tokens"),
    (None, {"model_type": "udlm"}, "is a udlm model: uniform diffusion replaces tokens"),
    (None, {"time_conditioning": None}, "does not say time_conditioning, true or false"),
    (None, {"model_length": None}, "does not say at which length it was trained: give --length"),
    (None, {"model_length": "12"}, "the setting model_length is '12'"),
])  # fmt: skip
def test_what_does_not_fit_is_told_in_a_sentence(tmp_path, change, config, said):
    tensors = raw_mdlm()
    if change:
        change(tensors)
    folder = hub_folder(tmp_path / "hf", tensors, config_of("mdlm", **config))
    with pytest.raises(ValueError, match=said):
        mdlm.read(folder, flags("ids"))


def test_models_of_other_processes_and_projects_are_told_apart(tmp_path):
    for read, source, said in (
        (mdlm.read, GOLDEN / "duo" / "duo.ckpt", "is a duo_base model: uniform diffusion"),
        (mdlm.read, RADD, "says neither parameterization nor model_type"),
        (mdlm.read, PRIME[2], "MDM-Prime's network: unmask import mdm-prime"),
        (sedd.read, RADD, "RADD's network: unmask import radd"),
        (radd.read, SEDD, "looks at sigma: unmask import sedd"),
        (mdm_prime.read, MDLM, "it is no MDM-Prime; try unmask import mdlm, sedd or radd"),
        (mdlm.read, tmp_path / "nowhere", "there is no file .*nowhere"),
        (mdlm.read, tmp_path, "holds no checkpoint"),
    ):
        with pytest.raises(ValueError, match=said):
            read(source, of_sedd())
    (tmp_path / "a.pth").write_bytes((SEDD / "checkpoints-meta" / "checkpoint.pth").read_bytes())
    with pytest.raises(ValueError, match="does not say graph.type, absorb or uniform"):
        sedd.read(tmp_path / "a.pth", of_sedd(length=12))
    shutil.copytree(SEDD, tmp_path / "run")
    yaml = tmp_path / "run" / ".hydra" / "config.yaml"
    for old, new, said in (
        ("type: absorb", "type: uniform", "is a uniform model"),
        ("type: loglinear", "type: cosine", "was trained with the noise 'cosine'"),
    ):
        yaml.write_text((SEDD / ".hydra" / "config.yaml").read_text().replace(old, new))
        with pytest.raises(ValueError, match=said):
            sedd.read(tmp_path / "run", of_sedd())


def test_an_average_of_other_tensors_is_refused(tmp_path):
    """One too few, and two in each other's place, of which the shapes tell."""
    content = TorchFile(MDLM).content
    state, averaged = raw_mdlm(), [one.read() for one in content["ema"]["shadow_params"]]
    config = {"time_conditioning": False, "parameterization": "subs", "model": {"length": 12}}
    swapped = [*averaged[:6], averaged[7], averaged[6], *averaged[8:]]

    def read(shadow):
        kept = {"state_dict": state, "ema": {"shadow_params": shadow}}
        torch.save(kept | {"hyper_parameters": {"config": config}}, tmp_path / "a.ckpt")
        return mdlm.read(tmp_path / "a.ckpt", flags("ids"))

    z = torch.full((1, 4), 10)
    whole = mdlm.read(MDLM, flags()).model
    assert torch.equal(read(averaged).model.predict(z), whole.predict(z))
    with pytest.raises(ValueError, match="has 29 averaged tensors for 30 parameters"):
        read(averaged[:-1])
    with pytest.raises(ValueError, match=r"tensor blocks\.0\.attn_qkv\.weight has the shape"):
        read(swapped)
    with pytest.raises(ValueError, match=r"is not laid out as a checkpoint .*shadow_params"):
        read({"0": averaged[0]})


class Named:
    """A tokenizer as transformers 5 pickles one: what is special stands in a mapping."""

    def __init__(self, mask):
        self._special_tokens_map = {"pad_token": "[PAD]", "mask_token": mask}


class Added:
    """A token that has more to it than its text."""

    def __init__(self, content):
        self.content = content


@pytest.mark.parametrize("mask", ["[MASK]", Added("[MASK]")])
def test_a_mask_of_the_tokenizers_own_is_known_without_the_tokenizer(tmp_path, mask):
    config = {"time_conditioning": False, "parameterization": "subs", "model": {"length": 12}}
    kept = {"config": config, "tokenizer": Named(mask)}
    torch.save({"state_dict": raw_mdlm(), "hyper_parameters": kept}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"with a mask of its own, \[MASK\], whose id"):
        mdlm.read(tmp_path / "a.ckpt", flags("ids"))


def test_a_tokenizer_of_another_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="10 tokens beside its mask, and the tokenizer has 256"):
        mdlm.read(MDLM, flags("bytes"))
    folder = hub_folder(tmp_path / "hf", raw_mdlm(), config_of("mdlm"))
    with pytest.raises(ValueError, match="does not hold its tokenizer: give --tokenizer"):
        mdlm.read(folder, flags())
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="is not a whole safetensors file: .*download it again"):
        mdlm.read(folder, flags("ids"))
