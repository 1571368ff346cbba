"""MAUVE of mauve-text: clusters and curves that are known, features of a network, and the verb."""

import json
import math

import numpy as np
import pytest
import torch
import transformers
from test_judges import LETTERS, make_judge, prepared  # noqa: F401

from unmask.cli.main import main
from unmask.evaluation import mauve
from unmask.evaluation.judges import Causal
from unmask.kinds.quality import Example

POINTS = 25  # of the curve, and as many mixtures


def directions(counts):
    """Features of so many examples in each of some directions, at right angles to one another."""
    return np.repeat(np.eye(len(counts)), counts, axis=0)


def curve(p, q):
    """The area under the curve of two laws, by the paper's definition, with trapezoids between the
    same mixtures."""
    p, q = np.array(p) / sum(p), np.array(q) / sum(q)

    def kl(one, of):
        return sum(a * math.log(a / b) for a, b in zip(one, of) if a)

    xs, ys = [0.0], [1.0]
    for w in np.linspace(1 - 1e-6, 1e-6, POINTS):
        r = w * p + (1 - w) * q
        xs.append(math.exp(-5 * kl(q, r)))
        ys.append(math.exp(-5 * kl(p, r)))
    xs, ys = [*xs, 1.0], [*ys, 0.0]
    corners = zip(zip(xs, ys), zip(xs[1:], ys[1:]))
    return sum((c - a) * (b + d) / 2 for (a, b), (c, d) in corners)


@pytest.mark.parametrize(
    "p, q", [((10, 10), (10, 10)), ((15, 5), (5, 15)), ((20, 0), (0, 20)), ((18, 2), (12, 8))]
)
def test_clusters_that_are_known(p, q):
    """20 examples of a side make two clusters, and there are two directions."""
    found, clusters = mauve.area(directions(p), directions(q), seed=0)
    assert clusters == 2 and found == pytest.approx(curve(p, q), abs=1e-6)


def test_the_area_is_that_of_the_package_where_no_points_are_equal():
    random = np.random.default_rng(0)
    for size, shift in ((40, 0.5), (60, 1.0), (100, 2.0)):
        p, q = random.normal(size=(size, 8)), random.normal(size=(size, 8)) + shift
        theirs = mauve.load()(p_features=p, q_features=q, seed=4).mauve
        assert mauve.area(p, q, 4)[0] == pytest.approx(theirs, abs=1e-9) and theirs < 0.99


def test_ends_of_the_scale():
    """1 of equal laws; of laws with nothing in common 5 B(5, 6), the area under
    y = (1 - x^(1/5))^5, up to the trapezoids."""
    assert curve((1, 1), (1, 1)) == pytest.approx(1)
    apart = 5 * math.gamma(5) * math.gamma(6) / math.gamma(11)
    assert curve((1, 0), (0, 1)) == pytest.approx(apart, rel=0.1)


def test_sides_of_one_size_stand_beside_each_other(capfd):
    random = np.random.default_rng(0)
    real, same, other = (random.normal(size=(80, 3)) + shift for shift in (0, 0, [3, 0, 0]))
    near, far = (mauve.compare(one, real, "a network", 7) for one in (same, other))
    assert capfd.readouterr().err == ""  # faiss says nothing of few examples a cluster
    for part in (near, far):
        (one,) = part.measures
        assert one.ideal == 1 and 0 < one.samples.value <= 1
        # both sides are 40 examples, and the real ones of one law
        assert one.real.value == mauve.area(*halves(real, 7), 7)[0] > 0.5
        assert math.isnan(one.samples.error)
    assert far.measures[0].like.value < far.measures[0].real.value
    assert far.measures[0].samples.value < 0.5 < near.measures[0].samples.value
    told = near.record["mauve"]
    assert told["clusters"] == 8 and told["n"] == [80, 80] and told["seed"] == 7
    assert len(told["other_seeds"]) == 2 and told["scaling_factor"] == 5
    says = " ".join(near.notes)
    for words in ("features of a network", "80 samples and 80 real", "8 clusters", "seed 7"):
        assert words in says
    assert "compares only with figures of the same features" in says
    assert "40 examples are few for MAUVE" in says


def halves(real, seed):
    order = np.random.default_rng(seed).permutation(len(real))
    return real[order[: len(real) // 2]], real[order[len(real) // 2 :]]


def test_small_sets_have_more():
    """Of laws that differ: the mean of six clusterings of each size."""
    found = []
    for size in (20, 200):
        values = []
        for seed in range(6):
            random = np.random.default_rng(seed)
            p, q = random.normal(size=(2, size, 32))
            q[:, 0] += 1.5
            values.append(mauve.area(p, q, seed)[0])
        found.append(np.mean(values))
    assert found[0] > found[1] + 0.1


def test_samples_fewer_than_half_of_the_real_ones_stand_alone():
    part = mauve.compare(directions((10, 9)), directions((20, 20)), "a network", 0)
    assert part.measures[0].like is None and part.measures[0].real.value > 0.5
    assert "two halves of 20 each, more than the 19 samples" in part.measures[0].says
    assert "column beside" not in part.measures[0].says


def test_halves_of_few_real_examples_are_not_told():
    part = mauve.compare(directions((20, 20)), directions((20, 19)), "a network", 0)
    assert part.measures[0].like is None and part.measures[0].real is None
    assert "39 real examples are too few for MAUVE of their halves" in " ".join(part.notes)


def test_fewer_points_than_clusters_are_said():
    part = mauve.compare(directions((20, 20)) * 3, directions((20, 20)), "a network", 0)
    assert part.record["mauve"]["points"] == 2 and part.record["mauve"]["clusters"] == 4
    assert "2 different points, fewer than the 4 clusters" in " ".join(part.notes)


def test_a_seed_from_which_cannot_be_counted_on():
    p = directions((20, 20))
    mauve.compare(p, p, "a network", mauve.LARGEST)
    with pytest.raises(ValueError, match=r"--seed is at most \d+ for MAUVE, not 4294967295"):
        mauve.compare(p, p, "a network", 2**32 - 1)


def test_too_few_texts_are_counted_before_the_work():
    row, none = np.ones(3, np.int64), np.zeros(0, np.int64)
    mauve.check_texts([[row] * 4, [row] * 4])
    said = "MAUVE of 3 real examples, 2 without a token left out, is none, and 4 are needed"
    with pytest.raises(ValueError, match=said):
        mauve.check_texts([[row] * 4, [row, row, none, row, none]])


@pytest.mark.parametrize(
    "p, q, said",
    [
        (np.eye(4), np.ones((4, 3)), "have 4 features, and the real examples 3"),
        (np.eye(3), np.eye(4)[:, :3], "MAUVE of 3 samples is none"),
        (np.eye(4), np.eye(4)[:3], "MAUVE of 3 real examples is none"),
        (np.ones((5, 2)), np.ones((5, 2)), "the same of all examples"),
        (np.ones((5, 2)), np.arange(1, 6)[:, None] * np.full((5, 2), 0.3), "the same of all"),
        (np.eye(5), np.diag([1, 1, 0, 1, np.nan]), "of 2 of 5 real examples are not finite, or"),
        (np.diag([1, 1, np.inf, 1, 1]), np.eye(5), "of 1 of 5 samples are not finite, or all 0"),
    ],
)
def test_features_that_cannot_be_clustered(p, q, said):
    with pytest.raises(ValueError, match=said):
        mauve.compare(p, q, "a network", 0)


def test_features_are_those_of_one_text_after_another(tmp_path):
    """The last hidden state at the last token, of a text that is cut after what the network has
    positions for; whatever stands beside it in a batch."""
    judge = Causal(make_judge(tmp_path / "gpt", begin=True), torch.device("cpu"))
    texts = ["a", "the quick fox", "jumps over the lazy dog and over the fox again. ", "b. c"]
    rows = judge.rows([Example(text, np.zeros(0, np.int64)) for text in texts])
    found = judge.features(rows)
    model = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "gpt").eval()
    for text, one in zip(texts, found, strict=True):
        ids = torch.tensor([[LETTERS.index(c) for c in text][:16]])
        with torch.no_grad():
            known = model(ids, output_hidden_states=True).hidden_states[-1][0, -1]
        assert np.allclose(one, known.numpy(), atol=1e-5)
    assert found.shape == (4, 16) and not np.allclose(found[0], found[3])


@pytest.fixture
def samples(tmp_path):
    texts = ["the quick brown fox jumps", "over the lazy dog. the qu", "dog dog dog dog dog dog d"]
    lines = "".join(json.dumps({"text": text[: 9 + i]}) + "\n" for i in range(8) for text in texts)
    (tmp_path / "s.jsonl").write_text(lines, encoding="utf-8")
    return tmp_path / "s.jsonl"


def judged(samples, data, *flags):
    out = samples.with_suffix(".json")
    how = ["--data", str(data), "--json", str(out), "--dtype", "float32", "--mauve"]
    assert main(["quality", str(samples), *how, *map(str, flags)]) == 0
    return json.loads(out.read_text(encoding="utf-8"))


def test_the_command_prints_it(prepared, samples, tmp_path, capsys):  # noqa: F811
    judge = make_judge(tmp_path / "gpt", begin=True)
    record = judged(samples, prepared, "--perplexity", judge, "--seed", "3")
    said = capsys.readouterr().out
    assert f"MAUVE is of features of gpt2 in {judge}, its last hidden state" in said
    assert "at most 16 tokens: 24 samples and" in said and "seed 3, by mauve-text" in said
    one = record["measures"]["mauve"]
    assert one["ideal"] == 1 and 0 < one["samples"]["value"] <= 1 and one["real"] is None
    assert record["mauve"]["seed"] == 3 and record["perplexity"]["model_sha256"]
    again = judged(samples, prepared, "--perplexity", judge, "--seed", "3")
    assert again["measures"]["mauve"] == one
    asked = ["--data", str(prepared), "--perplexity", str(judge), "--mauve", "--seed=4294967295"]
    assert main(["quality", str(samples), *asked]) == 2
    assert "--seed is at most 2147483632 for MAUVE" in capsys.readouterr().err


def test_features_in_files_are_taken_first(prepared, samples, tmp_path):  # noqa: F811
    for name, counts in (("a", (15, 5)), ("b", (5, 15))):
        np.save(tmp_path / f"{name}.npy", directions(counts))
    names = [tmp_path / "a.npy", tmp_path / "b.npy"]
    judge = make_judge(tmp_path / "gpt", begin=True)
    record = judged(samples, prepared, "--features", *names, "--perplexity", judge)
    value = record["measures"]["mauve"]["samples"]["value"]
    assert value == pytest.approx(curve((15, 5), (5, 15)), abs=1e-6)
    assert record["mauve"]["n"] == [20, 20] and "frechet" in record["measures"]
    assert str(names[0]) in record["mauve"]["features"]
