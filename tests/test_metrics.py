"""The Frechet distance and the classifier score against closed forms, and `unmask distance` on
files."""

import io
import json
import math
import re
import zipfile

import numpy as np
import pytest
import torch

from unmask.cli import main
from unmask.evaluation.distance import (
    classifier_score,
    frechet,
    frechet_distance,
    moments,
    read_moments,
)


def with_moments(mean, covariance, n=64, seed=0):
    """(n, D) whose sample mean and covariance are exactly these."""
    x = torch.randn(
        n, len(mean), dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    x = x - x.mean(0)
    white = x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov().reshape(len(mean), -1))).T
    return white @ torch.linalg.cholesky(
        torch.tensor(covariance, dtype=torch.float64)
    ).T + torch.tensor(mean, dtype=torch.float64)


def test_diagonal_covariances():
    """Sum of (mean - mean')^2 and of (deviation - deviation')^2."""
    a = with_moments([0.0, 1.0], [[4.0, 0.0], [0.0, 9.0]])
    b = with_moments([3.0, 1.0], [[1.0, 0.0], [0.0, 16.0]], n=50, seed=1)
    assert (
        frechet_distance(a, b) == pytest.approx(9 + 1 + 1) == pytest.approx(frechet_distance(b, a))
    )
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10)


def test_covariances_that_do_not_commute():
    """Of 2 x 2 matrices, tr M^(1/2) = sqrt(tr M + 2 sqrt det M), here of M = C C'."""
    one, two = [[2.0, 1.0], [1.0, 3.0]], [[5.0, -2.0], [-2.0, 1.0]]
    product = torch.tensor(one) @ torch.tensor(two)
    root = (product.trace() + 2 * torch.linalg.det(product).sqrt()).sqrt()
    found = frechet_distance(with_moments([0.0, 0.0], one), with_moments([1.0, 2.0], two, seed=3))
    assert found == pytest.approx(5 + 5 + 6 - 2 * float(root), rel=1e-6)


def test_one_feature_and_more_features_than_samples_and_what_is_refused():
    a = with_moments([1.0], [[4.0]])
    assert frechet_distance(a, a * 2) == pytest.approx(1 + 4)
    wide = torch.randn(5, 40, generator=torch.Generator().manual_seed(2))
    assert frechet_distance(wide, wide) == pytest.approx(0, abs=1e-4)
    for bad in (a[:, 0], a[:1], torch.zeros(9, 2), torch.full((9, 1), torch.nan)):
        with pytest.raises(ValueError):
            frechet_distance(a, bad)


def test_the_error_of_one_feature_by_hand():
    """(m - m')^2 + (s - s')^2 moves with x by 2 (m - m') (x - m) + (1 - s'/s) ((x - m)^2 - s^2),
    and so for the other side."""
    a, b = (
        torch.randn(80, 1, generator=torch.Generator().manual_seed(4)).double() * 2 + 1,
        torch.tensor([[-1.0], [0.5], [4.0], [0.0]]),
    )
    b = b.double()
    each = []
    for x, y in ((a, b), (b, a)):
        (m, s), (other, deviation) = ((v.mean(), v.std()) for v in (x, y))
        each.append(2 * (m - other) * (x - m) + (1 - deviation / s) * (x - m) ** 2)
    found = frechet(moments(a), moments(b))
    assert found.stderr == pytest.approx(float(each[0].var() / 80 + each[1].var() / 4) ** 0.5)
    assert found.of_means == pytest.approx(float((a.mean() - b.mean()) ** 2))
    fixed = frechet(moments(a), moments(b)._replace(features=None))
    assert fixed.value == found.value and fixed.stderr == pytest.approx(
        float(each[0].var() / 80) ** 0.5
    )
    assert math.isnan(frechet(*(moments(x)._replace(features=None) for x in (a, b))).stderr)


def test_the_error_is_what_other_samples_change():
    """100 pairs of samples of correlated features: the error's mean against their deviation, which
    is itself known to 7 %."""
    generator, mix = (
        torch.Generator().manual_seed(5),
        torch.tensor([[1.5, 0.4, 0.0], [0.0, 0.7, 0.3], [0.0, 0.0, 1.0]]).double(),
    )
    draws = [torch.randn(400, 3, dtype=torch.float64, generator=generator) for _ in range(200)]
    found = [frechet(moments(a @ mix + 0.2), moments(b)) for a, b in zip(draws[::2], draws[1::2])]
    deviation = float(np.std([d.value for d in found], ddof=1))
    assert np.mean([d.stderr for d in found]) == pytest.approx(deviation, rel=0.2)


def test_more_features_than_samples_have_no_error():
    wide = torch.randn(5, 40, generator=torch.Generator().manual_seed(2))
    assert math.isnan(frechet(moments(wide), moments(wide + 1)).stderr)


def test_the_classifier_score_by_hand():
    # all alike
    assert classifier_score(torch.tensor([[1.0, 2.0, 3.0]]).repeat(9, 1)) == pytest.approx(
        (1, 0), abs=1e-12
    )
    sure = 200.0 * torch.eye(3)
    assert classifier_score(sure.repeat(5, 1)) == pytest.approx((3, 0))
    score, error = classifier_score(sure[[0] * 3 + [1]])  # -log 3/4 three times, -log 1/4 once
    assert score == pytest.approx(4 / 3**0.75) and error == pytest.approx(
        score * np.std(np.log([4 / 3] * 3 + [4]), ddof=1) / 2
    )
    p = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    q = p.mean(0)
    assert classifier_score(p.log() + 7)[0] == pytest.approx(
        float(torch.exp((p * (p / q).log()).sum() / 2))
    )
    for bad in (
        torch.zeros(3),
        torch.zeros(1, 3),
        torch.zeros(3, 1),
        torch.full((3, 2), torch.nan),
    ):
        with pytest.raises(ValueError, match="logits must be finite"):
            classifier_score(bad)


# ---------------------------------------------------------------- the verb


def said_by(capsys, *arguments):
    capsys.readouterr()
    assert main(["distance", *map(str, arguments)]) == 0
    return capsys.readouterr()


def test_the_verb_reads_features_and_statistics(tmp_path, capsys):
    a, b = (
        with_moments([0.0, 1.0], [[4.0, 0.0], [0.0, 9.0]]),
        with_moments([3.0, 1.0], [[1.0, 0.0], [0.0, 16.0]], n=50, seed=1),
    )
    np.save(tmp_path / "a.npy", a.numpy())
    np.savez(tmp_path / "b.npz", features=b.numpy(), labels=np.arange(50))
    np.savez_compressed(tmp_path / "only.npz", arr_0=b.numpy())
    np.savez(
        tmp_path / "statistics.npz",
        mu=[3.0, 1.0],
        sigma=[[1.0, 0.0], [0.0, 16.0]],
        images=np.zeros((3, 2, 2)),
    )
    record = tmp_path / "r.json"
    out, err = said_by(capsys, tmp_path / "a.npy", tmp_path / "b.npz", "--json", record)
    error = frechet(moments(a), moments(b)).stderr
    assert (
        f"11 +- {error:.2g}: Frechet distance of 2 features; FID only if" in out
        and "9 of it between the means" in out
    )
    assert (
        "a.npy: 64 samples" in out
        and "b.npz: 50 samples" in out
        and "two halves of" in out
        and "warning" not in err
    )
    row = json.loads(record.read_text(encoding="utf-8"))
    assert (
        row["value"] == pytest.approx(11)
        and row["stderr"] == pytest.approx(error)
        and row["n"] == [64, 50]
        and row["features"] == 2
    )
    assert row["of_means"] == pytest.approx(9)
    assert {"command", "version", "seed", "unit", "estimator"} <= row.keys() and len(
        row["files_sha256"][1]
    ) == 64
    assert row["halves"] > 0  # of the smaller side
    assert said_by(capsys, tmp_path / "a.npy", tmp_path / "only.npz")[0].startswith(
        f"11 +- {error:.2g}"
    )
    flags = ["--threads", torch.get_num_threads()]
    out, _ = said_by(capsys, tmp_path / "statistics.npz", tmp_path / "a.npy", *flags)
    alone = frechet(moments(a), moments(b)._replace(features=None)).stderr
    assert (
        out.startswith(f"11 +- {alone:.2g}: ") and "a number of samples that it does not say" in out
    )
    out, _ = said_by(
        capsys, tmp_path / "statistics.npz", tmp_path / "statistics.npz", "--json", record
    )
    assert (
        re.match(r"\d[.e\d-]*: Frechet", out)
        and json.loads(record.read_text(encoding="utf-8"))["stderr"] is None
        and "halves of" not in out
    )


def test_the_verb_warns_of_small_samples(tmp_path, capsys):
    x = torch.randn(30, 6, generator=torch.Generator().manual_seed(7)).numpy()
    np.save(tmp_path / "few.npy", x[:6])
    np.save(tmp_path / "many.npy", x)
    out, err = said_by(capsys, tmp_path / "few.npy", tmp_path / "many.npy")
    assert "+-" not in out and "two halves of" in out and "3 samples each" in out
    assert err.count("warning") == 1 and "few.npy has 6 samples of 6 features" in err


def bad_files(at):
    """{name: what the error says}"""
    features = np.ones((4, 2))
    archives = {
        "objects": {"features": np.array([{}, 3], dtype=object)},
        "pictures": {"data": np.zeros((5, 8, 8, 3), np.uint8)},
        "names": {"x": features, "y": features},
        "half": {"mu": np.zeros(2), "x": features},
        "words": {"features": np.array(["a", "b"])},
        "nan": {"features": features * np.nan},
        "one": {"features": features[:1]},
        "flat": {"features": np.zeros((4, 0))},
        "wide": {"features": np.zeros((9, 3))},
        "shapes": {"mu": np.zeros(2), "sigma": np.eye(3)},
        "none": {},
        "matrix": {"mu": np.zeros((2, 2)), "sigma": np.eye(2)},
        "void": {"mu": np.zeros(0), "sigma": np.zeros((0, 0))},
        "skew": {"mu": np.zeros(2), "sigma": np.array([[1.0, 0.5], [0.0, 1.0]])},
        "complex": {"features": features * 1j},
        "negative": {"mu": np.zeros(2), "sigma": np.diag([1.0, -1.0])},
        "infinite": {"mu": np.full(2, np.inf), "sigma": np.eye(2)},
    }
    for name, arrays in archives.items():
        np.savez(at / f"{name}.npz", **arrays)
    np.save(at / "objects.npy", np.array([{}], dtype=object))
    np.save(at / "structured.npy", np.zeros(3, dtype=[("x", "f4")]))
    (at / "third.npy").write_bytes(b"\x93NUMPY\x03\0" + bytes(60))
    (at / "text.npy").write_text("0.1 0.2")
    (at / "empty.npz").write_bytes(b"")
    whole = io.BytesIO()
    np.save(whole, np.ones((50, 4)))
    (at / "cut.npy").write_bytes(whole.getvalue()[:-9])
    (at / "cut.npz").write_bytes((at / "wide.npz").read_bytes()[:-40])
    huge = whole.getvalue().replace(b"(50, 4)", b"(5000000, 2000)").replace(b" " * 8 + b"\n", b"\n")
    (at / "huge.npy").write_bytes(huge)
    with zipfile.ZipFile(at / "huge.npz", "w") as archive:
        archive.writestr("features.npy", huge)
    (at / "folder").mkdir()
    return {
        "objects.npz": "an array of object: give real numbers",
        "objects.npy": "an array of object",
        "words.npz": "an array of <U1",
        "complex.npz": "an array of complex128",
        "structured.npy": r"an array of \[",
        "third.npy": "no header that can be read",
        "pictures.npz": r"shape \(5, 8, 8, 3\) is not features \(n, D\)",
        "names.npz": "no array `features`, nor `mu` and `sigma`, but x, y",
        "half.npz": "but mu, x",
        "none.npz": "but nothing",
        "nan.npz": "not finite",
        "one.npz": r"n at least 2, not \(1, 2\)",
        "flat.npz": r"not \(4, 0\)",
        "wide.npz": "3 features on one side and 2 on the other",
        "matrix.npz": r"not \(2, 2\) and \(2, 2\)",
        "void.npz": r"`mu` must be \(D,\)",
        "shapes.npz": r"not \(2,\) and \(3, 3\)",
        "skew.npz": "no covariance",
        "negative.npz": "no covariance",
        "infinite.npz": "not finite",
        "text.npy": "truncated, or not an .npy or .npz file",
        "empty.npz": "truncated, or not",
        "cut.npz": "truncated, or not",
        "cut.npy": "cut.npy: ",
        "huge.npy": r"\(5000000, 2000\), more than the 268,435,456 values",
        "huge.npz": "more than the 268,435,456",
        "folder": "there is no file",
        "missing.npy": "there is no file",
    }


def test_bad_files_are_one_sentence_that_names_the_file(tmp_path, capsys):
    np.save(tmp_path / "good.npy", with_moments([0.0, 1.0], [[4.0, 0.0], [0.0, 9.0]]).numpy())
    for name, said in bad_files(tmp_path).items():
        assert main(["distance", str(tmp_path / name), str(tmp_path / "good.npy")]) == 2, name
        error = capsys.readouterr().err
        assert (
            re.search(said, error)
            and (name in error or name == "wide.npz")
            and error.count("\n") == 1
        ), (name, error)
    good = str(tmp_path / "good.npy")
    for flags, said in (
        (["--threads", "-1"], "--threads must not be negative"),
        (["--json", str(tmp_path / "a.txt")], "must end in .json"),
    ):
        assert main(["distance", good, good, *flags]) == 2
        assert said in capsys.readouterr().err
    assert read_moments(good).num == 64
