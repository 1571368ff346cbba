"""Pictures: every loader on small real files of its format, the order of tokens, what is refused,
and the verbs."""

import gzip
import hashlib
import json
import os
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, features

import unmask
from unmask.audit import exact_nelbo
from unmask.backbones import UNet
from unmask.backbones.traits import without_traits
from unmask.backbones.unet import Patches, grid_rotary
from unmask.cli import main
from unmask.config import TrainConfig
from unmask.data import Pixels, make_tokenizer, open_data, prepare_images
from unmask.kinds.baselines import position_bits
from unmask.kinds.images.holes import Holed
from unmask.kinds.images.pixels import open_picture, picture_grid, to_array
from unmask.kinds.images.sources import by_hash
from unmask.kinds.registry import presets
from unmask.labels import label_of, labels_of
from unmask.likelihood import estimate_nelbo
from unmask.sampling import guided
from unmask.train import State, build, read_log, train, train_step

BUNDLED = Path(unmask.__file__).parent / "kinds" / "images" / "bundled" / "digits"
SMALL = TrainConfig(
    length=0, network="unet", widths="8,16", blocks=1, layers=0, heads=2, batch_size=8, steps=4,
    warmup=2, eval_minutes=0, eval_windows=16, log_every=2, dtype="float32", device="cpu",
    threads=1, minutes=0.0,
)  # fmt: skip


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits():
    """(images (1797, 8, 8) of values 0..255, labels), read here without the package."""
    images, labels = (
        gzip.decompress((BUNDLED / f"digits-{name}-ubyte.gz").read_bytes())
        for name in ("images-idx3", "labels-idx1")
    )
    return np.frombuffer(images[16:], np.uint8).reshape(-1, 8, 8), np.frombuffer(
        labels[8:], np.uint8
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The bundled digits, prepared."""
    out = tmp_path_factory.mktemp("digits") / "data"
    prepare_images(
        BUNDLED / "digits-images-idx3-ubyte.gz",
        out,
        levels=17,
        split="0.9,0.05,0.05",
        progress=False,
    )
    return out


def idx(array):
    return (
        bytes([0, 0, 8, array.ndim])
        + np.array(array.shape, ">u4").tobytes()
        + array.astype(np.uint8).tobytes()
    )


def colours(images):
    """Digits as 32 x 32 colour pictures (n, 32, 32, 3), every channel another."""
    big = images.repeat(4, 1).repeat(4, 2)
    return np.stack([big, big.transpose(0, 2, 1), 255 - big], -1)


def write_idx(at, images, labels):
    for name, part in (("train", slice(0, 40)), ("t10k", slice(40, 60))):
        (at / f"{name}-images-idx3-ubyte").write_bytes(idx(images[part]))
        (at / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels[part])))


def write_cifar10(at, images, labels):
    for i, name in enumerate(["data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"]):
        part = slice(20 * i, 20 * i + 20)
        planes = colours(images[part]).transpose(0, 3, 1, 2).reshape(20, -1)
        (at / name).write_bytes(
            np.concatenate([labels[part, None], planes], 1).astype(np.uint8).tobytes()
        )


def write_npz(at, images, labels):
    parts = {
        "train_data_batch_1": slice(0, 10),
        "train_data_batch_10": slice(30, 40),
        "train_data_batch_2": slice(10, 30),
        "val_data": slice(40, 60),
    }
    for name, part in parts.items():
        planes = colours(images[part]).transpose(0, 3, 1, 2).reshape(-1, 3072)
        np.savez(at / f"{name}.npz", data=planes, labels=labels[part].astype(int) + 1)


@pytest.mark.parametrize(
    "write,expected",
    [(write_idx, lambda x: x[..., None]), (write_cifar10, colours), (write_npz, colours)],
)
def test_official_folders_are_read_whole_with_their_test_part_and_labels(
    tmp_path, digits, write, expected
):
    images, labels = digits[0][:60], digits[1][:60]
    (tmp_path / "source").mkdir()
    write(tmp_path / "source", images, labels)
    # what nothing is trained on may be for validation and for testing
    if write is write_npz:
        held = tmp_path / "source" / "val_data.npz"
        meta = prepare_images(held.parent, tmp_path / "both", validation=held, progress=False)
        assert meta["images"] == {"train": 40, "validation": 20, "test": 20}
    meta = prepare_images(tmp_path / "source", tmp_path / "out", progress=False)
    # a twentieth of 40 is kept for validation
    assert meta["images"] == {"train": 38, "validation": 2, "test": 20}
    data = open_data(tmp_path / "out", labels=True)
    parts = [
        next(data.windows(split, data.length, 60)) for split in ("train", "validation", "test")
    ]
    pictures = data.tokenizer.decode(torch.cat([p["x"] for p in parts]).numpy())
    assert np.array_equal(pictures, expected(images))
    assert torch.cat([p["cond"] for p in parts]).tolist() == labels.tolist()
    assert meta["classes"] == labels.max() + 1
    height, width, channels = pictures.shape[1:]
    x = parts[0]["x"][0].view(height, width, channels)  # the order: row, column, channel
    assert np.array_equal(x.numpy(), pictures[0])


@pytest.mark.parametrize("write", [write_idx, write_cifar10, write_npz])
def test_what_else_is_in_an_official_folder_is_left_out_and_counted(
    tmp_path, digits, write, capsys
):
    source = tmp_path / "source"
    source.mkdir()
    write(source, digits[0][:60], digits[1][:60])
    (source / "more").mkdir()
    for name in ("readme.html", "more/readme.html", "batches"):
        (source / name).write_text("words")
    assert main(["prepare", "images", str(source), str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "left out: 2 (in no part of the data, .html): more/readme.html; readme.html" in said
    assert "left out: 1 (in no part of the data, without an ending): batches" in said
    meta = prepare_images(source, tmp_path / "of one", test=source, progress=False)
    assert sum(entry["count"] for entry in meta["skipped"].values()) == 3


def test_single_files_and_parts_of_their_own(tmp_path, digits):
    images, labels = digits[0][:30], digits[1][:30]
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / "labels").write_bytes(idx(labels))
    meta = prepare_images(
        tmp_path / "a.gz",
        tmp_path / "one",
        labels=tmp_path / "labels",
        split="20,4,6",
        levels=4,
        progress=False,
    )
    assert meta["images"] == {"train": 20, "validation": 4, "test": 6}
    data = open_data(tmp_path / "one", labels=True)
    test = next(data.windows("test", 64, 6))
    assert (
        np.array_equal(test["x"].view(-1, 8, 8).numpy(), images[24:].astype(int) * 4 // 256)
        and data.vocab_size == 4
    )
    assert test["cond"].tolist() == labels[24:].tolist()
    np.savez(tmp_path / "grey.npz", data=images)
    bits = images >= 128
    (tmp_path / "bits").write_bytes(np.packbits(bits.reshape(30, -1), axis=1).tobytes())
    prepare_images(
        tmp_path / "grey.npz",
        tmp_path / "two",
        test=tmp_path / "grey.npz",
        validation=tmp_path / "grey.npz",
        progress=False,
    )
    prepare_images(
        tmp_path / "bits",
        tmp_path / "three",
        format="packbits",
        shape=(8, 8, 1),
        split="30,0,0",
        progress=False,
    )
    for name, expected in (("two", images), ("three", bits)):
        data = open_data(tmp_path / name)
        assert np.array_equal(
            next(data.windows("train", 64, 30))["x"].view(-1, 8, 8).numpy(), expected
        )
    assert data.vocab_size == 2 and data.splits == ("train",)
    assert open_data(tmp_path / "two").meta["images"] == {"train": 30, "validation": 30, "test": 30}


def test_a_folder_of_pictures_has_classes_and_is_cropped_and_resized(tmp_path, digits):
    images, labels = digits[0][:24], digits[1][:24]
    for i, (image, label) in enumerate(zip(images, labels)):
        (tmp_path / "in" / f"digit {label}").mkdir(parents=True, exist_ok=True)
        # the middle square is the digit
        wide = np.pad(image.repeat(4, 0).repeat(4, 1), ((0, 0), (5, 5)), constant_values=77)
        Image.fromarray(wide).save(
            tmp_path / "in" / f"digit {label}" / f"{i}.{'jpg' if i % 2 else 'png'}", quality=98
        )
    meta = prepare_images(tmp_path / "in", tmp_path / "out", size=8, split="24,0,0", progress=False)
    assert meta["class_names"] == [f"digit {i}" for i in range(10)] and meta["tokenizer"][
        "shape"
    ] == [8, 8, 1]
    all_of_it = next(open_data(tmp_path / "out", labels=True).windows("train", 64, 24))
    x, found = all_of_it["x"].view(-1, 8, 8).numpy(), all_of_it["cond"].numpy()
    # mixed, so that parts cut off hold all classes
    assert sorted(found) == sorted(labels) and list(found) != sorted(labels)
    for picture, label in zip(x, found):
        distance = np.abs(images.astype(int) - picture).mean((1, 2))
        # Lanczos of the 4 x 4 blocks, and JPEG
        assert labels[distance.argmin()] == label and distance.min() < 25
    again = prepare_images(
        tmp_path / "in", tmp_path / "again", size=8, channels=3, split="24,0,0", progress=False
    )
    assert again["tokenizer"]["shape"] == [8, 8, 3]


def test_png_modes(tmp_path):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
    Image.fromarray(grey).convert("P").save(tmp_path / "p.png")
    Image.fromarray(grey >= 90).save(tmp_path / "1.png")
    assert to_array(open_picture(tmp_path / "p.png"), tmp_path).shape == (8, 8, 3)
    assert np.array_equal(
        to_array(open_picture(tmp_path / "1.png"), tmp_path)[..., 0], np.where(grey >= 90, 255, 0)
    )
    turned = Image.fromarray(grey[:, :4])
    exif = turned.getexif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert open_picture(tmp_path / "turned.jpg").size == (8, 4)


def damaged(tmp_path, digits):
    """{name: (source, flags, what the error says)}"""
    images, labels = digits[0][:20], digits[1][:20]
    whole = idx(images)
    cifar = np.concatenate(
        [labels[:3, None], colours(images[:3]).transpose(0, 3, 1, 2).reshape(3, -1)], 1
    ).astype(np.uint8)
    bad_label = cifar.copy()
    bad_label[1, 0] = 11
    files = {
        "short": whole[:-70], "long": whole + bytes(64), "header": whole[:9],
        "other": b"\0\0\x0d\x03" + whole[4:], "text": b"what?", "bits": bytes(17),
        "cut.bin": cifar.tobytes()[:-5], "label.bin": bad_label.tobytes(),
        "huge": b"\0\0\x08\x03" + b"\xff" * 12, "images": whole, "few": idx(labels[:19]),
        "none": idx(images[:0]), "cut.gz": gzip.compress(whole)[:-20], "empty": b"",
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    archives = {
        "range": {"data": images.astype(int) + 200},
        "float": {"data": images / 255},
        "shape": {"data": images[:, :3].reshape(20, -1)},
        "names": {"pixels": images},
        "labels": {"data": images, "labels": labels[:7]},
        "zero": {"data": np.zeros((2, 12), np.uint8), "labels": np.array([0, 1])},
        "most": {"data": images[:2], "labels": np.array([0, 70000])},
        "objects": {"data": np.array([{}, {}], dtype=object)},
    }
    for name, arrays in archives.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
    (tmp_path / "broken.npz").write_bytes((tmp_path / "range.npz").read_bytes()[:90])
    for name in ("sizes", "modes", "alpha", "deep", "torn", "nothing", "not"):
        (tmp_path / name).mkdir()
        if name != "nothing":
            Image.fromarray(images[0]).save(tmp_path / name / "a.png")
    Image.fromarray(images[0][:, :6]).save(tmp_path / "sizes" / "b.png")
    Image.fromarray(colours(images[:1])[0][:8, :8]).save(tmp_path / "modes" / "b.png")
    Image.fromarray(np.dstack([images[0]] * 4)).save(tmp_path / "alpha" / "b.png")
    Image.fromarray(images[0].astype(np.uint16) * 256).save(tmp_path / "deep" / "b.png")
    (tmp_path / "torn" / "b.png").write_bytes((tmp_path / "torn" / "a.png").read_bytes()[:-30])
    (tmp_path / "not" / "b.png").write_text("<html>")
    bits = ["--format", "packbits"]
    return {
        "short": ([], "short ends within image 18: 58 bytes of 64"),
        "long": ([], "too long: 21 images where its header says 20"),
        "header": ([], "not an IDX file of bytes with 3 axes"),
        "other": (["--format", "idx"], "begins with 00 00 0d 03"),
        "huge": ([], "4294967295 x 4294967295"),
        "text": ([], "its format cannot be told; give --format"),
        "empty": ([], "its format cannot be told"),
        "none": ([], "0 x 8 x 8"),
        "cut.gz": ([], "cut.gz is truncated or damaged"),
        "cut.bin": ([], "cut.bin ends within record 2: 3068 bytes of 3073"),
        "label.bin": ([], "label.bin, record 1: label 11 is not one of 0 to 9"),
        "bits": ([*bits, "--shape", "8,8,1"], "bits ends within image 2: 1 bytes of 8"),
        "images": (
            ["--labels", str(tmp_path / "few")],
            "few has 19 labels and .*images has 20 images",
        ),
        "range.npz": ([], "range.npz, image 0: value 2[5-9][0-9] is not between 0 and 255"),
        "float.npz": ([], "`data` is float64"),
        "shape.npz": ([], "24 values an image are not three channels of a square"),
        "names.npz": ([], "names.npz: no array 'data', only pixels"),
        "labels.npz": ([], "7 labels and 20 images"),
        "zero.npz": ([], "a label is 0; they count from 1 to 65536"),
        "most.npz": ([], "a label is 70000; they count from 0 to 65535"),
        "objects.npz": ([], "objects.npz: an array of object: give real numbers"),
        "broken.npz": ([], "broken.npz is truncated, or not an .npz file"),
        "sizes": (
            [],
            "b.png is 6 x 8 pixels.*a.png is 8 x 8.*--size"
            "|a.png is 8 x 8 pixels.*b.png is 6 x 8.*--size",
        ),
        "modes": ([], "of 3.*--channels|3 channels.*--channels"),
        "alpha": ([], "b.png has transparent pixels: .* --background"),
        "deep": ([], "b.png has the mode I(;16)?"),
        "torn": ([], "b.png is truncated, damaged"),
        "not": ([], "b.png is not a picture"),
        "nothing": ([], "nothing is an empty folder"),
        "missing": ([], "missing does not exist"),
    }


def test_bad_sources_are_one_sentence_that_names_file_and_value(tmp_path, digits, capsys):
    for name, (flags, said) in damaged(tmp_path, digits).items():
        assert (
            main(["prepare", "images", str(tmp_path / name), str(tmp_path / "out"), *flags]) == 2
        ), name
        error = capsys.readouterr().err
        assert re.search(said, error), (name, error)
        assert error.count("\n") == 1 and not (tmp_path / "out").exists(), name
    assert not list(tmp_path.glob(".out*"))  # nothing is left behind


@pytest.mark.parametrize(
    "flags,said",
    [
        (["--shape", "8,8"], "give height,width,channels, like 28,28,1"),
        (["--shape", "8,8,1"], "--shape is for packed bits"),
        (["--format", "packbits"], "give --shape HEIGHT,WIDTH,CHANNELS"),
        (
            ["--format", "packbits", "--shape", "3,3,1"],
            "9 bits an image are no whole number of bytes",
        ),
        (["--format", "packbits", "--shape", "8,8,2"], "with 1 or 3 channels"),
        (["--size", "4"], "--size and --channels are for folders"),
        (["--levels", "1"], "levels 1: give between 2 and 256"),
        (["--levels", "257"], "levels 257: give between 2 and 256"),
        (["--split", "9,9,9000"], "asks for 9018 .* has 1797"),
        (["--labels", "there"], "there does not exist: name a file of labels"),
        (["--test", "nowhere"], "nowhere does not exist"),
    ],
)
def test_flags_that_do_not_fit_are_refused(tmp_path, capsys, flags, said):
    assert (
        main(
            [
                "prepare",
                "images",
                str(BUNDLED / "digits-images-idx3-ubyte.gz"),
                str(tmp_path / "out"),
                *flags,
            ]
        )
        == 2
    )
    error = capsys.readouterr().err
    assert re.search(said, error) and error.count("\n") == 1 and not (tmp_path / "out").exists(), (
        error
    )


def test_labels_in_one_part_only_are_refused(tmp_path, digits):
    write_idx(tmp_path, digits[0][:60], digits[1][:60])
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match="give both or neither"):
        prepare_images(tmp_path, tmp_path / "out", progress=False)


def test_every_picture_is_a_window_once_and_batches_depend_on_the_step_alone(folder, digits):
    data = open_data(folder)
    batches = list(data.windows("train", 64, 100))
    assert [len(b["x"]) for b in batches] == [100] * 16 + [17] and set(batches[0]) == {"x"}
    x = torch.cat([b["x"] for b in batches]).view(-1, 8, 8).numpy()
    assert np.array_equal(x, np.round(digits[0][:1617] * (16 / 255)))  # counts of 0 to 16 again
    a, b, c = (data.batch("train", 64, 5, 1, step)["x"] for step in (7, 7, 8))
    assert torch.equal(a, b) and not torch.equal(a, c)
    spread = (
        torch.cat([b["x"] for b in data.windows("train", 64, 4, limit=7)]).view(-1, 8, 8).numpy()
    )
    assert np.array_equal(spread, x[[(2 * i + 1) * 1617 // 14 for i in range(7)]])
    with pytest.raises(ValueError, match="8 x 8 x 1 = 64 values, and an example is a whole one"):
        data.batch("train", 32, 5, 1, 0)


def test_levels_are_shown_as_values_that_read_back_the_same():
    for levels in range(2, 257):
        pixels = Pixels((1, levels, 1), levels)
        shown = pixels.decode(np.arange(levels))
        assert (
            np.array_equal(pixels.encode(shown), np.arange(levels))
            and shown[0, 0, 0] == 0
            and shown[0, -1, 0] == 255
        )
        assert np.abs(shown[0, :, 0] - np.arange(levels) * 255 / (levels - 1)).max() < 1
        values = np.arange(256, dtype=np.uint8)
        assert np.array_equal(
            Pixels((16, 16, 1), levels).encode(values.reshape(16, 16, 1)),
            values.astype(int) * levels // 256,
        )
        assert pixels.decode(np.full(levels, levels)).max() == 127  # masked: grey
        with pytest.raises(ValueError, match=f"none of the {levels} levels"):
            pixels.decode(np.full(levels, levels + 1))


# ---------------------------------------------------------------- the network


def test_a_picture_network_is_uniform_at_first_and_refuses_other_shapes():
    network = UNet(5, (8, 4, 3), widths=(8, 16), blocks=1, heads=2)
    z = torch.randint(0, 6, (2, 96), generator=rng())
    logits = network(z)
    assert logits.shape == (2, 96, 5) and float(logits.detach().abs().max()) == 0
    with pytest.raises(ValueError, match="8 x 4 x 3 = 96 values, not 64"):
        network(z[:, :64])
    for arguments, said in (
        (
            dict(shape=(6, 8, 1), widths=(8, 8, 8)),
            "6 x 8 pixels cannot be halved 2 times: give pictures whose sides are multiples of 4 "
            "or fewer widths than 3$",
        ),
        (
            dict(shape=(3, 3, 1), widths=(8,), layers=1),
            "halved 0 times and cut into patches of 2 x 2: give pictures whose sides are multiples "
            "of 2 or layers 0$",
        ),
        (
            dict(shape=(25, 25, 1), widths=(8, 8), layers=1),
            "25 x 25 pixels cannot be halved 1 times and cut into patches of 2 x 2: give pictures "
            "whose sides are multiples of 4$",
        ),
        (dict(shape=(6, 6, 1), widths=(8, 8), layers=1, heads=4), "and cut into patches of 2 x 2"),
        (dict(shape=(8, 8), widths=(8,)), r"\(height, width, channels\)"),
        (
            dict(shape=(8, 8, 1), widths=(9,), heads=2),
            "the last width, 9, is not a multiple of heads 2",
        ),
        (dict(shape=(8, 8, 1), widths=(9,), time=True), "the first width, 9, must be even"),
        (dict(shape=(8, 8, 1), widths=(8,), patch=0), "patch 0 at least 1"),
        (dict(shape=(8, 8, 1), widths=(8,), layers=1, dim=10, heads=2), "multiple of 4"),
    ):
        with pytest.raises(ValueError, match=said):
            UNet(5, **arguments)


@pytest.mark.parametrize("layers", [0, 1])
def test_a_row_of_features_is_that_of_its_pixel_and_channel(layers):
    """Residual blocks, attention and transformer start as identities, so a value is felt within two
    pixels, apart from the norms."""
    torch.manual_seed(0)
    network = UNet(5, (12, 8, 3), widths=(32,), blocks=1, heads=2, layers=layers, dim=16).double()
    z = torch.full((1, 12 * 8 * 3), 5)
    base = network.features(z)
    for row, column, channel in ((0, 7, 0), (9, 2, 1), (5, 4, 2)):
        changed = z.clone()
        changed[0, (row * 8 + column) * 3 + channel] = 1
        felt = (network.features(changed) - base).abs().sum((0, 2)).view(12, 8, 3).sum(-1)
        most = felt.flatten().argmax().item()
        assert abs(most // 8 - row) <= 2 and abs(most % 8 - column) <= 2
        near = torch.zeros(12, 8, dtype=torch.bool)
        near[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = True
        assert felt[near].max() > 5 * felt[~near].max()
    embedded = network.embed.weight.detach().clone()
    with torch.no_grad():
        network.embed.weight[6:12] += 1  # the second channel's table
    assert not torch.allclose(network.features(z), base)
    with torch.no_grad():
        network.embed.weight.copy_(embedded)
        network.embed.weight[:5] += 1  # values that are not there
    assert torch.equal(network.features(z), base)


@pytest.mark.parametrize("layers", [0, 1])
def test_what_is_known_of_values_is_part_of_embeddings_and_of_the_heads_rows(layers):
    """Of every channel, and of no mask; a network whose tables hold the sums says the same."""
    sizes = {"widths": (8,), "blocks": 1, "heads": 2, "layers": layers, "dim": 16}
    net = UNet(5, (4, 4, 3), traits=(1, 5, 4), **sizes).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.normal_(std=0.3)
        net.traits.tell(torch.randn(1, 5, 4), torch.tensor([0, 1, 2, 3, -1]))
    other = without_traits(net)
    assert other.traits is None and not other.config["traits"]
    for name, rows in (("embed", 6), ("head", 5)):
        added = getattr(other, name).weight - getattr(net, name).weight
        plain = torch.zeros(rows, 8).double()
        plain[:4] = net.traits.known[0, :4] @ getattr(net.traits, name)[0]
        torch.testing.assert_close(added, plain.repeat(len(added) // rows, 1), rtol=0, atol=1e-12)
    z = torch.randint(0, 6, (3, 48))
    torch.testing.assert_close(other(z), net(z), rtol=0, atol=1e-12)
    bare = UNet(**net.config | {"traits": ()}).double()
    bare.load_state_dict(net.state_dict(), strict=False)
    assert not torch.allclose(bare(z), net(z), rtol=0.1)


def test_the_values_of_pictures_are_known_by_where_they_lie(folder):
    """Cosines of a value's place between dark and bright: the first falls, all have variance 1, and
    none is a sum of others.  Of two values there is nothing to know."""
    meta = json.loads((folder / "meta.json").read_text())
    for network in ("unet", "transformer"):
        config = TrainConfig(network=network, layers=network == "transformer", traits=True)
        net = build(config, 17, {"length": 64, "data": meta}).backbone
        assert net.traits.row.tolist() == list(range(17))
        known = net.traits.known[0]
        assert known.shape == (17, 16) and (known[:, 0].diff() < 0).all()
        torch.testing.assert_close(known.T @ known, 17 * torch.eye(16), rtol=0, atol=1e-4)
    assert Pixels((2, 2, 1), 2).traits is None
    few = Pixels((2, 2, 1), 3).traits
    assert few.known[0, :, :2].any() and not few.known[0, :, 2:].any()


def test_patches_are_put_back_where_they_were_cut_out():
    patches = Patches(3, 12, 0, 1, 2, 8, 0.0, 0)
    for linear in (patches.inside, patches.outside):
        torch.nn.init.eye_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    patches.norm = torch.nn.Identity()
    x = torch.randn(2, 3, 4, 6, generator=rng())
    assert torch.allclose(patches(x, None), 2 * x)


def test_positions_of_a_grid_enter_attention_by_their_differences():
    rows, columns, width = 3, 5, 8
    cos, sin = (table[:, 0] for table in grid_rotary(rows, columns, width, None))
    assert cos.shape == (15, 4)
    q, k = torch.randn(2, width, generator=rng())

    def turned(u):
        a, b = u.chunk(2)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

    scores = (turned(q) @ turned(k).T).view(rows, columns, rows, columns)
    assert torch.allclose(scores[0, 1, 1, 3], scores[1, 2, 2, 4], atol=1e-5) and torch.allclose(
        scores[1, 0, 0, 1], scores[2, 3, 1, 4], atol=1e-5
    )
    assert not torch.allclose(scores[0, 0, 0, 1], scores[0, 0, 1, 0], atol=1e-3)


@pytest.mark.parametrize(
    "preset,shape,millions", [("cifar10", [32, 32, 3], 28.4), ("imagenet64", [64, 64, 3], 198)]
)
def test_the_papers_sizes_within_three_per_cent(preset, shape, millions):
    """CIFAR-10 by hand: 32 blocks of 2 (9 128^2), 33 of 9 (256 + 128) 128 + 256 x 128, ...: 28.4 M
    are the paper's."""
    with torch.device("meta"):
        model = build(
            presets()[preset].config,
            256,
            {"data": {"kind": "images", "tokenizer": {"shape": shape, "vocab_size": 256}}},
        )
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.03)


def test_the_bound_of_a_picture_network_against_enumeration():
    torch.manual_seed(1)
    network = UNet(3, (2, 4, 1), widths=(8, 8), blocks=1, heads=1, time=True)
    torch.nn.init.normal_(network.head.weight, std=1.0)
    for schedule in (unmask.schedules.Cosine(), unmask.schedules.LearnedPolynomial(3, init=1.3)):
        model = unmask.MaskedDiffusion(network, schedule, unmask.Subtokenizer(3)).eval()
        x = torch.randint(0, 3, (4, 8), generator=rng())
        with torch.no_grad():
            exact = float(exact_nelbo(model, x).mean())
        found = estimate_nelbo(model, [x.repeat(64, 1)], repeats=40)
        assert abs(found.mean - exact) < 5 * found.noise and found.noise < 0.02 * exact
        assert unmask.sample(model, num=3, length=8, steps=4).shape == (3, 8)


# ---------------------------------------------------------------- training and the verbs


def test_classes_are_given_and_hidden_from_a_share(folder, monkeypatch):
    data = open_data(folder, labels=True)
    config = replace(SMALL, labels=True, label_dropout=0.25, batch_size=400, length=64)
    model = build(config, data.vocab_size, {"data": data.meta})
    seen = []
    features = model.backbone.features
    model.backbone.features = lambda z, cond=None: (seen.append(cond), features(z, cond=cond))[1]
    train_step(config, data, State(model, config))
    given = data.batch("train", 64, 400, 0, 0)["cond"]
    hidden = seen[0] == 10  # the extra label: none
    assert 0.15 < float(hidden.float().mean()) < 0.35 and torch.equal(
        seen[0][~hidden], given[~hidden]
    )


def test_a_run_from_a_model_of_classes_records_that_its_bound_is_given_them(folder, tmp_path):
    few = ["--widths", "8", "--steps", "1", "--minutes", "0", "--batch-size", "4", "--warmup", "1"]
    few += ["--eval-windows", "4", "--device", "cpu", "--dtype", "float32"]
    for name, flags in (
        ("a", ["--labels", *few]),
        ("b", [*few[2:], "--from", str(tmp_path / "a")]),
    ):
        where = ["--data", str(folder), "--out", str(tmp_path / name)]
        record = tmp_path / f"{name}.json"
        assert main(["train", "digits", *where, *flags, "--json", str(record)]) == 0
        assert json.loads(record.read_text(encoding="utf-8"))["given"] == "classes"


def test_a_network_of_classes_tells_them_apart():
    torch.manual_seed(0)
    network = UNet(3, (4, 4, 1), widths=(8,), blocks=1, heads=1, classes=2)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=0.1)
    z = torch.full((3, 16), 3)
    one, two, none = network.features(z, cond=torch.tensor([0, 1, 2]))
    assert not torch.allclose(one, two, atol=1e-4)
    assert torch.allclose(network.features(z)[0], none, atol=1e-6)  # no cond: no label
    with pytest.raises(ValueError, match="UNet was built with classes=0"):
        UNet(3, (4, 4, 1), widths=(8,), blocks=1).features(z, cond=torch.tensor([0, 0, 0]))


def test_the_verbs_on_digits(folder, tmp_path, capsys, monkeypatch, digits):
    monkeypatch.chdir(tmp_path)
    flags = [
        f"--{n.replace('_', '-')}={getattr(SMALL, n)}"
        for n in ("widths", "steps", "minutes", "eval_windows", "heads", "dtype", "threads")
    ]
    more = ["--data", str(folder), "--out", "run", "--batch-size=8", "--labels"]
    assert main(["train", "mnist", *more, *flags]) == 0
    assert "8 images of 64 values a step" in capsys.readouterr().err
    assert main(["eval", "run", "--data", str(folder), "--json", "eval.json"]) == 0
    said = capsys.readouterr().out
    record = json.loads(Path("eval.json").read_text(encoding="utf-8"))
    assert record["unit"] == "bits per dimension" and record["n"] == 90 and record["length"] == 64
    assert "90 images of 8 x 8 x 1 = 64 dimensions of 17 values, given their classes" in said
    assert f"{record['nats_per_example']:.3f} +- " in said and "nats an image" in said
    report = ["--audit", "--limit=4", "--out=r.html", "--steps=4"]
    assert main(["report", "run", "--data", str(folder), *report]) == 0
    page = Path("r.html").read_text(encoding="utf-8")
    assert "; given their classes; " in page and ", without their classes, 32 draws" in page
    assert main(["schedule", "run", "--data", str(folder), "--limit=2", "--repeats=2"]) == 0
    assert "\ngiven their classes, seed 0, " in capsys.readouterr().out
    grid = ["--limit=2", "--repeats=2", "--steps=2", "--out=grid.json", "--json=made.json"]
    assert main(["grid", "run", "--data", str(folder), *grid]) == 0
    assert "test split, given their classes,\n" in capsys.readouterr().out
    assert json.loads(Path("made.json").read_text(encoding="utf-8"))["given"] == "classes"
    common = ["--steps", "4"]
    assert main(["sample", "run", "--num", "5", "--frames", "s.gif", *common]) == 0
    with Image.open("samples.png") as grid, Image.open("s.gif") as frames:
        assert grid.size == (3 * 66 + 2, 2 * 66 + 2) and frames.n_frames == 5
    assert main(["sample", "run", "--num", "5", "--out", "many", "--label", "3", *common]) == 0
    assert sorted(p.name for p in Path("many").iterdir()) == [f"0000{i}.png" for i in range(1, 6)]
    guided = [
        "--guidance",
        "1e6",
        "--guidance-schedule",
        "rising",
        "--json",
        "g.json",
        "--out",
        "g.npz",
    ]
    assert main(["sample", "run", "--num", "3", "--seed", "7", *guided, *common]) == 0
    assert json.loads(Path("g.json").read_text(encoding="utf-8"))["guidance_schedule"] == "rising"
    assert main(["sample", "run", "--num", "3", "--out", "s.npz", "--seed", "7", *common]) == 0
    assert main(["sample", "run", "--num", "3", "--out", "t.npz", "--seed", "7", *common]) == 0
    first, again = (np.load(name)["data"] for name in ("s.npz", "t.npz"))
    assert first.shape == (3, 8, 8, 1) and np.array_equal(first, again) and first.std() > 0
    assert not np.array_equal(first, np.load("g.npz")["data"])
    # filling in: transparent pixels, and those of a mask
    given, holes = digits[0][0], np.zeros((8, 8), bool)
    holes[:3] = True
    Image.fromarray(np.dstack([given, np.where(holes, 0, 255).astype(np.uint8)])).save("in.png")
    Image.fromarray(given).save("whole.png")
    Image.fromarray(holes).save("mask.png")
    assert main(["fill", "run", "in.png", "--out", "out.png", *common]) == 0
    more = ["--mask", "mask.png", "--num", "2", "--label", "0"]
    assert main(["fill", "run", "whole.png", *more, *common]) == 0
    for name in ("out.png", "whole-filled-1.png", "whole-filled-2.png"):
        filled = np.asarray(Image.open(name))
        assert np.array_equal(filled[~holes], given[~holes]) and not np.array_equal(
            filled[holes], given[holes]
        ), name
    seen = []
    real = unmask.filling.trajectory
    monkeypatch.setattr(
        unmask.filling,
        "trajectory",
        lambda *a, **how: (seen.append(how["cond"]), real(*a, **how))[1],
    )
    assert main(
        ["fill", "run", "in.png", "--out", "again.png", "--label", "4", *common]
    ) == 0 and seen[0].tolist() == [4]
    assert main(["audit", "run", "--data", str(folder), "--limit", "8"]) == 0
    assert [row for row in read_log(Path("run/log.jsonl")) if "bits" in row]


def test_what_does_not_fit_a_model_of_pictures_is_refused(
    folder, tmp_path, capsys, monkeypatch, data, digits
):
    monkeypatch.chdir(tmp_path)
    train(SMALL, folder, "run")
    for name, picture in (
        ("small", np.zeros((8, 6))),
        ("colour", np.zeros((8, 8, 3))),
        ("whole", digits[0][0]),
    ):
        Image.fromarray(picture.astype(np.uint8)).save(f"{name}.png")
    Path("text.png").write_text("no")
    prepare_images(BUNDLED / "digits-images-idx3-ubyte.gz", "grey", levels=4, progress=False)
    capsys.readouterr()
    for command, said in (
        (["fill", "run", "small.png"], "small.png is 6 x 8 pixels and the model is for 8 x 8"),
        (["fill", "run", "colour.png"], "colour.png is RGB and the model is for L"),
        (["fill", "run", "whole.png"], "whole.png has no transparent pixel"),
        (
            ["fill", "run", "whole.png", "--mask", "small.png"],
            "small.png is 6 x 8 pixels and whole.png 8 x 8",
        ),
        (
            ["fill", "run", "whole.png", "--mask", "whole.png", "--out", "a.jpg"],
            "a.jpg must end in .png",
        ),
        (["fill", "run", "whole.png", "--mask", "gone.png"], "there is no file gone.png"),
        (
            ["fill", "run", "whole.png", "--mask", "whole.png", "--label", "1"],
            "the model knows no classes",
        ),
        (["fill", "run", "whole.png", "--window"], "--window is not for a picture"),
        (["fill", "run", "text.png"], "text.png is not a picture"),
        (["fill", "run", "missing.png"], "there is no file missing.png"),
        (["sample", "run", "--out", "a.jpg"], "name a .png"),
        (["sample", "run", "--out", "whole.png/x.png"], "there is no folder"),
        (["sample", "run", "--frames", "a.html"], "must end in .gif"),
        (
            ["sample", "run", "--length", "9"],
            "an example of this model's data has 64 values; leave it out",
        ),
        (["sample", "run", "--label", "3"], "the model knows no classes"),
        (["sample", "run", "--guidance", "2"], "--guidance 2 strengthens what a class says"),
        (
            ["sample", "run", "--guidance-schedule", "rising"],
            "--guidance-schedule rising .* there is none: give --guidance",
        ),
        (
            ["eval", "run", "--data", str(data)],
            "has text .characters., "
            "and the model was trained on pictures of 8 x 8 x 1 with 17 values",
        ),
        (
            ["eval", "run", "--data", "grey"],
            "pictures of 8 x 8 x 1 with 4 values, and the model was trained on .* 17 values",
        ),
        (["train", "mnist", "--data", str(data), "--out", "no"], "length 0: give at least 1"),
        (
            ["train", "mnist", "--data", str(data), "--out", "no", "--length", "8"],
            "unet is for pictures",
        ),
        (
            ["train", "mnist", "--data", str(folder), "--out", "no", "--labels", "--widths", "a,b"],
            "give numbers of channels",
        ),
        (["train", "mnist", "--data", str(folder), "--out", "no", "--digits", "2"], "not digits 2"),
        (
            ["train", "demo", "--data", str(folder), "--out", "no", "--blocks", "3"],
            "blocks 3 is of --network unet",
        ),
        (["train", "demo", "--data", str(data), "--out", "no", "--labels"], "has no labels"),
        (
            ["train", "demo", "--data", str(folder), "--out", "no"],
            "length 128: these pictures have 8 x 8 x 1 = 64 values",
        ),
    ):
        assert main(command) == 2, command
        error = capsys.readouterr().err
        assert re.search(said, error) and error.count("\n") == 1, (command, error)
    assert not Path("no").exists() and not list(Path().glob("*filled*"))


def test_text_models_refuse_what_is_for_pictures(text_run, tmp_path, capsys):
    (tmp_path / "in.txt").write_text("the [MASK]")
    for command, said in (
        (
            ["fill", str(text_run), str(tmp_path / "in.txt"), "--mask", "x.png"],
            "--mask is not for a text",
        ),
        (["sample", str(text_run), "--frames", str(tmp_path / "a.png")], "must end in .html"),
    ):
        assert main(command) == 2
        assert said in capsys.readouterr().err


TRANSFORMER = {"network": "transformer", "layers": 1, "dim": 16, "digits": 2}
NO_UNET = {"widths": TrainConfig.widths, "blocks": TrainConfig.blocks}


@pytest.mark.parametrize("change", [{"schedule": "learned", "time": True}, TRANSFORMER | NO_UNET])
def test_pixels_with_the_other_dials(folder, tmp_path, change):
    """A power for every value of a pixel; a transformer over pixel values in two digits."""
    run = train(replace(SMALL, **change), folder, tmp_path / "run")
    model = unmask.MaskedDiffusion.from_pretrained(run)
    assert model.schedule.num_values == (17 if "schedule" in change else 1)
    assert unmask.sample(model, num=2, steps=3).shape == (2, 64)


def test_a_picture_run_continues_to_the_same_bits(folder, tmp_path):
    config = replace(SMALL, checkpoint_minutes=1e-9)
    whole = train(config, folder, tmp_path / "whole")
    out = tmp_path / "parts"
    real = unmask.train.loop.train_step

    def killed(config, data, state, fall):
        if state.step == 2:
            raise RuntimeError("killed")
        return real(config, data, state, fall)

    unmask.train.loop.train_step = killed
    try:
        with pytest.raises(RuntimeError, match="killed"):
            train(config, folder, out)
    finally:
        unmask.train.loop.train_step = real
    parts = train(config, folder, out)
    a, b = (unmask.checkpoint.load(f, "model.safetensors")[1] for f in (whole, parts))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_grid_shows_every_picture_once():
    pictures = np.arange(5, dtype=np.uint8)[:, None, None, None].repeat(4, 1).repeat(6, 2) * 40
    page = picture_grid(pictures, columns=2, scale=1, gap=1, edge=255)
    assert page.shape == (3 * 5 + 1, 2 * 7 + 1, 1)
    assert [int(page[1 + 5 * (i // 2), 1 + 7 * (i % 2), 0]) for i in range(5)] == [
        0,
        40,
        80,
        120,
        160,
    ]
    assert page[11, 8, 0] == 255 and (page[0] == 255).all()


def test_the_demo_of_digits_from_start_to_report(tmp_path, capsys):
    out = tmp_path / "demo"
    flags = ["--data", "digits", "--out", str(out), "--minutes", "0.02"]
    more = ["--json", str(tmp_path / "d.json")]
    assert main(["demo", *flags, *more]) == 0
    said, record = (
        capsys.readouterr().out,
        json.loads((tmp_path / "d.json").read_text(encoding="utf-8")),
    )
    page = (out / "report.html").read_text(encoding="utf-8")
    # 40 samples of which 16 are stepped through; given, four completions; real ones in one picture
    assert page.count('src="data:image/png;base64,') == 40 + 5 * 8 + 1
    assert page.count("data-known=") == 16 + 4 * 8 and "every pixel hidden" in page
    assert record["n"] == 252 and record["baselines"]["uniform"] == pytest.approx(np.log2(17))
    assert f"{record['value']:.3f} +- " in said and f"{record['value']:.3f} ± " in page
    assert main(["demo", "--out", str(out)]) == 2  # the other demo's folder
    assert "not the demo's data" in capsys.readouterr().err


def test_the_histogram_of_every_pixel_by_hand():
    train_x, test_x = np.array([[0, 5], [0, 6]]), np.array([[0, 7]])
    expected = -(np.log2(3 / 19) + np.log2(1 / 19)) / 2
    assert position_bits(train_x, test_x, 17) == pytest.approx(expected)


# ---------------------------------------------------------------- parts, classes, look-alikes


def pictures_in(folder, digits, names, first=0):
    for i, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for j in range(4):
            Image.fromarray(digits[0][first + 4 * i + j]).save(folder / name / f"{j}.png")


def test_the_classes_of_every_part_are_those_of_the_training_part(tmp_path, digits):
    pictures_in(tmp_path / "all" / "train", digits, ["bird", "cat", "dog"])
    pictures_in(tmp_path / "all" / "val", digits, ["dog"])
    pictures_in(tmp_path / "test", digits, ["cat", "dog"])
    meta = prepare_images(
        tmp_path / "all", tmp_path / "out", test=tmp_path / "test", progress=False
    )
    assert [one["files"] for one in meta["source"]] == [16, 8]
    assert meta["images"] == {"train": 12, "validation": 4, "test": 8} and meta["class_names"] == [
        "bird",
        "cat",
        "dog",
    ]
    data = open_data(tmp_path / "out", labels=True)
    assert next(data.windows("validation", 64, 4))["cond"].tolist() == [2] * 4
    assert sorted(next(data.windows("test", 64, 8))["cond"].tolist()) == [1] * 4 + [2] * 4
    pictures_in(tmp_path / "other", digits, ["cow", "dog"])
    with pytest.raises(
        ValueError, match="cow.*none of the training part's classes: bird, cat, dog"
    ):
        prepare_images(tmp_path / "all", tmp_path / "no", test=tmp_path / "other", progress=False)


def test_an_official_file_that_is_there_packed_too_is_read_once(tmp_path, digits):
    source = tmp_path / "source"
    source.mkdir()
    write_idx(source, digits[0][:60], digits[1][:60])
    alone = prepare_images(source, tmp_path / "alone", progress=False)
    for path in [*source.iterdir()]:
        if path.suffix == ".gz":
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        else:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    both = prepare_images(source, tmp_path / "both", progress=False)
    assert both["images"] == alone["images"] and both["sha256"] == alone["sha256"]
    assert both["skipped"]["in no part of the data, .gz"]["count"] == 4


def test_classes_by_name_and_by_number_are_not_taken_for_each_other(tmp_path, digits):
    """Sub-folders 1 and 7 are the classes 0 and 1, which of MNIST's labels are others."""
    images, labels = digits[0][:40], digits[1][:40]
    (tmp_path / "t-images-idx3-ubyte").write_bytes(idx(images))
    (tmp_path / "t-labels-idx1-ubyte").write_bytes(idx(labels))
    np.savez(tmp_path / "t.npz", data=images, labels=labels % 3)
    pictures_in(tmp_path / "named", digits, ["1", "7"])
    named, out = tmp_path / "named", tmp_path / "no"
    for other in (tmp_path / "t-images-idx3-ubyte", tmp_path / "t.npz"):
        said = f"{named} has classes by name, and {other} by number: give both in one format"
        for source, test in ((other, named), (named, other)):
            with pytest.raises(ValueError, match=said):
                prepare_images(source, out, test=test, progress=False)
    assert not out.exists()


def test_a_source_is_told_with_its_files_and_their_sizes(tmp_path, digits):
    """A file has the size and the digest of its own, and so have its labels."""
    names = ["t-images-idx3-ubyte", "t-labels-idx1-ubyte"]
    for name, part in zip(names, digits):
        (tmp_path / name).write_bytes(idx(part[:40]))
    meta = prepare_images(tmp_path / names[0], tmp_path / "out", progress=False)
    for said, name in zip(meta["source"], names, strict=True):
        content = (tmp_path / name).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        assert said == {"name": name, "bytes": len(content), "sha256": sha256}


def test_a_name_that_is_no_text_is_spelled(tmp_path, digits, capsys):
    name = os.fsdecode(b"M\xfc")
    said = name.encode("utf-8", "backslashreplace").decode()
    pictures_in(tmp_path / "in", digits, [name, "dog"])
    command = ["prepare", "images", str(tmp_path / "in"), str(tmp_path / "out")]
    assert main([*command, "--split", "1,0,0"]) == 0
    assert f"class {said}" in capsys.readouterr().out
    how = {"split": "1,0,0", "progress": False}
    meta = prepare_images(tmp_path / "in" / name, tmp_path / "of one", **how)
    assert meta["source"][0]["name"] == said


def test_labels_of_some_files_only_are_refused_and_a_test_part_is_the_test_part(tmp_path, digits):
    images, labels = digits[0][:60], digits[1][:60]
    (tmp_path / "npz").mkdir()
    for i, has in ((1, False), (2, True)):
        arrays = {"labels": labels[:9]} if has else {}
        np.savez(tmp_path / "npz" / f"train_data_batch_{i}.npz", data=images[:9], **arrays)
    with pytest.raises(ValueError, match="some of its files have labels, and some have none"):
        prepare_images(tmp_path / "npz", tmp_path / "out", progress=False)
    (tmp_path / "a").mkdir()
    write_idx(tmp_path / "a", images, labels)
    (tmp_path / "train").write_bytes(idx(images[:30]))
    (tmp_path / "labels").write_bytes(idx(labels[:30]))
    prepare_images(
        tmp_path / "train",
        tmp_path / "out",
        labels=tmp_path / "labels",
        test=tmp_path / "a",
        progress=False,
    )
    test = next(open_data(tmp_path / "out").windows("test", 64, 20))["x"]
    assert np.array_equal(test.view(-1, 8, 8).numpy(), images[40:])  # and not its training part
    with pytest.raises(ValueError, match="has parts of its own, and none for validation"):
        prepare_images(
            tmp_path / "train",
            tmp_path / "no",
            labels=tmp_path / "labels",
            validation=tmp_path / "a",
            progress=False,
        )
    (tmp_path / "two" / "b").mkdir(parents=True)
    write_idx(tmp_path / "two", images, labels)
    write_idx(tmp_path / "two" / "b", images, labels)
    with pytest.raises(ValueError, match="more than one set of images"):
        prepare_images(tmp_path / "two", tmp_path / "no", progress=False)


def test_files_that_look_like_others(tmp_path, digits, capsys):
    image = digits[0][0]
    for name in ("clear", "eps"):
        (tmp_path / name).mkdir()
    Image.fromarray(image).save(tmp_path / "clear" / "a.png", transparency=int(image[0, 0]))
    Image.fromarray(image).save(tmp_path / "alone.png")
    Image.fromarray(image).save(tmp_path / "eps" / "a.png", format="EPS")
    (tmp_path / "junk.gz").write_bytes(b"\x1f\x8b\x08\0" + bytes(6) + b"\xff" * 40)
    np.save(tmp_path / "single.npy", digits[0][:3])
    np.savez(tmp_path / "none.npz", data=digits[0][:0])
    (tmp_path / "images").write_bytes(idx(digits[0][:3]))
    (tmp_path / "images.gz").write_bytes(gzip.compress(idx(digits[0][:3])))
    for name, flags, said in (
        ("clear", [], "a.png has transparent pixels"),
        ("eps", [], "not a picture that can be read: give PNG, JPEG"),
        ("alone.png", [], "alone.png is one picture: name the folder that it is in"),
        ("single.npy", [], "single.npy is a single array: save it with numpy.savez"),
        ("junk.gz", [], "truncated or damaged"),
        ("single.npy", ["--format", "npz"], "not an .npz file, but a single array"),
        ("none.npz", [], "has no images"),
        ("images", ["--split", "60,20,20"], "would keep 100 in all"),
        ("images", ["--size", "-5"], "--size must not be negative"),
    ):
        assert (
            main(["prepare", "images", str(tmp_path / name), str(tmp_path / "out"), *flags]) == 2
        ), name
        error = capsys.readouterr().err
        assert re.search(said, error) and error.count("\n") == 1, error
    # images.gz: no labels
    assert (
        prepare_images(tmp_path / "images", tmp_path / "out", split="3,0,0", progress=False)[
            "classes"
        ]
        == 0
    )
    with pytest.raises(ValueError, match="is of images"):
        make_tokenizer(str(tmp_path / "out"))


def test_a_picture_and_a_link_to_it_are_one(tmp_path):
    source = tmp_path / "pictures"
    source.mkdir()
    for i in range(4):
        Image.new("L", (4, 4), 60 * i).save(source / f"{i}.png")
        (source / f"again{i}.png").symlink_to(source / f"{i}.png")
    meta = prepare_images(source, tmp_path / "out", split="2,1,1", progress=False)
    assert sum(meta["images"].values()) == 4
    assert meta["skipped"]["another name of a file that is read"]["count"] == 4
    # a picture of two folders is of two classes, or would be in two parts
    for name in ("cat", "dog"):
        (tmp_path / "classes" / name).mkdir(parents=True)
        (tmp_path / "classes" / name / "1.png").symlink_to(source / f"{len(name)}.png")
    how = {"split": "2,0,0", "progress": False}
    assert prepare_images(tmp_path / "classes", tmp_path / "two", **how)["classes"] == 2
    for part, number in (("train", 0), ("train", 1), ("test", 1)):
        (tmp_path / "parts" / part).mkdir(parents=True, exist_ok=True)
        (tmp_path / "parts" / part / f"{number}.png").symlink_to(source / f"{number}.png")
    prepare_images(tmp_path / "parts", tmp_path / "stored", progress=False)  # equal ones of a store
    (tmp_path / "parts" / "test" / "1.png").unlink()
    (tmp_path / "parts" / "train" / "2.png").write_bytes((source / "2.png").read_bytes())
    (tmp_path / "parts" / "test" / "1.png").symlink_to(tmp_path / "parts" / "train" / "2.png")
    with pytest.raises(ValueError, match="test/1.png is in .*parts, which is for test, and in"):
        prepare_images(tmp_path / "parts", tmp_path / "no", progress=False)


def test_pictures_longer_than_a_block_are_read(tmp_path, digits, monkeypatch):
    monkeypatch.setattr("unmask.kinds.sources.BLOCK", 50)
    (tmp_path / "images").write_bytes(idx(digits[0][:5]))
    prepare_images(tmp_path / "images", tmp_path / "out", split="5,0,0", progress=False)
    assert np.array_equal(
        next(open_data(tmp_path / "out").windows("train", 64, 5))["x"].view(-1, 8, 8).numpy(),
        digits[0][:5],
    )


def test_a_model_of_classes_takes_the_same_classes_alone(
    folder, tmp_path, capsys, digits, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    train(replace(SMALL, labels=True, label_dropout=0.0), folder, "run")
    few = digits[1][:200] % 5
    Path("images").write_bytes(idx(digits[0][:200]))
    Path("labels").write_bytes(idx(few))
    prepare_images("images", "five", labels="labels", levels=17, progress=False)
    capsys.readouterr()
    assert main(["eval", "run", "--data", "five"]) == 2
    assert "five has 5 classes, and the model was trained on 10 classes" in capsys.readouterr().err
    # it never saw a picture without its class
    assert main(["sample", "run", "--guidance", "1"]) == 2
    assert "train with --label-dropout above 0" in capsys.readouterr().err
    assert main(["eval", "run", "--data", str(folder), "--limit", "4", "--json", "e.json"]) == 0
    assert json.loads(Path("e.json").read_text(encoding="utf-8"))["given"] == "classes"
    Image.fromarray(digits[0][0] * 15).save("a.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4] = 255
    Image.fromarray(mask).save("m.png")
    capsys.readouterr()
    for command in (["score", "run", "a.png"], ["fill", "run", "a.png", "--mask", "m.png"]):
        assert main(command) == 2
        assert "never saw an example without its class" in capsys.readouterr().err
        assert main([*command, "--label", "3"]) == 0
    for command in (["audit", "run", "--data", str(folder)], ["report", "run", "--audit"]):
        assert main(command) == 2
        assert "never saw an example without its class" in capsys.readouterr().err
    command = ["train", "mnist", "--data", str(folder), "--out", "no", "--label-dropout", "0.5"]
    assert main(command) == 2
    assert main(["train", "mnist", "--data", str(folder), "--out", "no", "--dim", "99"]) == 2


def test_masks_and_outputs_of_fill(folder, tmp_path, capsys, digits, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(SMALL, folder, "run")
    Image.fromarray(digits[0][0]).save("in.png")
    Image.fromarray(np.full((8, 8), 255, np.uint16)).save("deep.png")  # nearly black in 16 bits
    Image.fromarray(digits[0][0]).save("clear.png", transparency=int(digits[0][0][0, 0]))
    capsys.readouterr()
    for command, said in (
        (["fill", "run", "in.png", "--mask", "deep.png"], "deep.png has no white pixel"),
        (["fill", "run", "clear.png", "--out", "clear.png"], "would overwrite the input"),
        (["sample", "run", "--out", "run"], "run is there already: name a new folder"),
    ):
        assert main(command) == 2
        assert re.search(said, capsys.readouterr().err), command
    assert main(["fill", "run", "clear.png", "--steps", "3"]) == 0
    filled, holes = (
        np.asarray(Image.open("clear-filled.png").copy()),
        digits[0][0] == digits[0][0][0, 0],
    )
    assert np.array_equal(filled[~holes], digits[0][0][~holes])


def test_transparent_pixels_that_a_mask_leaves_out_are_refused(tmp_path, digits):
    opaque, white = np.full((8, 8), 255, np.uint8), np.zeros((8, 8), bool)
    opaque[:2], white[-1] = 0, True
    clear, mask = tmp_path / "clear.png", tmp_path / "mask.png"
    Image.fromarray(np.dstack([digits[0][0], opaque])).save(clear)
    Image.fromarray(white).save(mask)
    pixels = Pixels((8, 8, 1), 256)
    with pytest.raises(ValueError, match="clear.png has transparent pixels that .*mask.png does"):
        Holed(clear, mask, pixels)
    white[:2] = True
    Image.fromarray(white).save(mask)
    assert np.array_equal(Holed(clear, mask, pixels).holes[..., 0], white)


def test_what_is_neither_opaque_nor_transparent(tmp_path):
    """A picture's pixels are refused; on the layer of a mask what is not painted is black."""
    pixels, grey = Pixels((2, 3, 1), 4), np.full((2, 3), 255, np.uint8)
    alpha = np.array([[0, 0, 255], [255, 255, 255]], np.uint8)
    opaque = {"clear": alpha, "half": alpha | 100, "faint": alpha - (alpha == 255)}
    for name, some in opaque.items():
        Image.fromarray(np.dstack([grey, some])).save(tmp_path / f"{name}.png")
    Image.fromarray(grey).save(tmp_path / "whole.png")
    clear, whole = tmp_path / "clear.png", tmp_path / "whole.png"
    assert Holed(clear, None, pixels).holes[..., 0].tolist() == (alpha == 0).tolist()
    assert Holed(whole, clear, pixels).holes[..., 0].tolist() == (alpha == 255).tolist()
    with pytest.raises(ValueError, match="has 2 half-transparent pixels"):
        Holed(tmp_path / "half.png", clear, pixels)
    for name, half in (("half", 2), ("faint", 4)):
        with pytest.raises(ValueError, match=f"{name}.png has {half} half-transparent pixels"):
            Holed(tmp_path / f"{name}.png", None, pixels)


def test_a_network_that_looks_at_the_time_sees_it():
    torch.manual_seed(0)
    network = UNet(3, (4, 4, 1), widths=(8,), blocks=1, heads=1, time=True)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=0.1)
    z = torch.full((1, 16), 3)
    early, late = (network.features(z, torch.tensor([t])) for t in (0.1, 0.9))
    assert not torch.allclose(early, late, atol=1e-4)


# ---------------------------------------------------------------- guidance


def test_guidance_is_the_tilted_distribution_and_keeps_zeros():
    p, q = torch.tensor([[0.5, 0.3, 0.2, 0.0]]), torch.tensor([[0.25, 0.15, 0.1, 0.5]])
    for weight in (0.0, 1.0, 2.5, -0.5):
        found = guided(p.log(), q.log(), torch.tensor([[weight]])).exp()
        if weight == 0:
            assert torch.allclose(found, p)
        both = (p[0, :2] ** (1 + weight) / q[0, :2] ** weight).double()
        assert (
            torch.allclose((found[0, 0] / found[0, 1]).double(), both[0] / both[1])
            and found[0, 3] == 0
        )
        assert float(found.sum()) == pytest.approx(1)
    q = torch.tensor([[0.25, 0.25, 0.0, 0.5]])
    # impossible without the class
    assert float(guided(p.log(), q.log(), torch.tensor([[1.0]])).exp()[0, 2]) == pytest.approx(1)


class OfClass(torch.nn.Module):
    """Without a class uniform; with class c, value c has odds 3 to 1 against each other."""

    uses_time = False

    def forward(self, z, cond=None):
        logits = torch.zeros(*z.shape, 3)
        return (
            logits
            if cond is None
            else logits + np.log(3) * torch.nn.functional.one_hot(cond, 3)[:, None]
        )


@pytest.mark.parametrize("sampler", ["ancestral", "first_hitting"])
def test_samplers_guide_by_the_weight_of_their_time(sampler):
    model = unmask.MaskedDiffusion(OfClass(), unmask.schedules.Linear(), unmask.Subtokenizer(3))
    cond = torch.arange(3).repeat(400)
    how = {"num": 1200, "length": 10, "sampler": sampler, "steps": 10, "cond": cond}
    for guidance, odds in ((None, 3.0), (lambda t: 1 + 0 * t, 9.0), (lambda t: 2.0 * (t > 2), 3.0)):
        x = unmask.sample(model, **how, guidance=guidance, generator=rng(1))
        share = float((x == cond[:, None]).double().mean())
        expected = odds / (odds + 2)
        assert abs(share - expected) < 5 * (expected * (1 - expected) / x.numel()) ** 0.5
    late = unmask.sample(model, **how, guidance=lambda t: 50.0 * (t < 0.5), generator=rng(2))
    share = float((late == cond[:, None]).double().mean())
    # half of the values are revealed after t = 1/2, and those are certain
    if sampler == "first_hitting":
        assert abs(share - (0.5 * 0.6 + 0.5)) < 0.02
    else:
        assert share > 0.65
    with pytest.raises(ValueError, match="there is none: give cond"):
        unmask.sample(model, num=2, length=4, guidance=lambda t: t)


# ---------------------------------------------------------------- folders of all sorts of files


def prepared(source, out, **how):
    """meta.json, and the pictures of the training part in no order, as rows of bytes."""
    meta = prepare_images(source, out, split="1,0,0", progress=False, **how)
    rows = np.fromfile(out / "train.bin", np.uint8).reshape(meta["images"]["train"], -1)
    return meta, sorted(row.tobytes() for row in rows)


def test_pictures_of_every_format_are_read_and_other_files_are_counted_and_named(
    tmp_path, digits, capsys
):
    pictures = colours(digits[0][:6])
    formats = ["PNG", "GIF", "BMP", "TIFF", "PPM"]
    if features.check("webp"):
        formats.append("WEBP")
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name, picture in zip(formats, pictures):
        # told by the first bytes: the ending says nothing, or another format
        ending = {"GIF": ".gif", "WEBP": ".webp", "BMP": "", "PPM": ".data"}.get(name, ".jpg")
        how = {"lossless": True} if name == "WEBP" else {}
        Image.fromarray(picture).save(tmp_path / "in" / f"{name}{ending}", name, **how)
    Image.fromarray(pictures[0]).save(tmp_path / "in" / "photo.jfif", "JPEG")
    for name in ("notes.txt", "a.heic", "sub/b.heic", "LICENSE"):
        (tmp_path / "in" / name).write_bytes(b"no picture at all")
    meta, rows = prepared(tmp_path / "in", tmp_path / "out")
    assert meta["images"]["train"] == len(formats) + 1
    assert {picture.tobytes() for picture in pictures[: len(formats)]} <= set(rows)
    assert meta["skipped"] == {
        "not a picture, .heic": {"count": 2, "first": ["a.heic", "sub/b.heic"]},
        "not a picture, .txt": {"count": 1, "first": ["notes.txt"]},
        "not a picture, without an ending": {"count": 1, "first": ["LICENSE"]},
    }
    assert "converted" not in meta
    command = ["prepare", "images", str(tmp_path / "in"), str(tmp_path / "again")]
    assert main([*command, "--split", "1,0,0"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"\n +train +validation +test\n  images +\d +0 +0\n", said)
    assert "left out: 2 (not a picture, .heic): a.heic; sub/b.heic\n" in said
    for path in (tmp_path / "in").iterdir():
        if path.suffix not in (".heic", ".txt", ""):
            path.unlink()
    (tmp_path / "in" / "BMP").unlink()
    with pytest.raises(ValueError, match=r"among its files \(2 .heic, 1 without an ending, 1 .txt"):
        prepare_images(tmp_path / "in", tmp_path / "no", progress=False)


def test_a_loose_picture_beside_the_classes_is_left_out_and_the_classes_stay(
    tmp_path, digits, capsys
):
    pictures_in(tmp_path / "in", digits, ["cat", "dog"])
    Image.fromarray(digits[0][50]).save(tmp_path / "in" / "screenshot.png")
    command = ["prepare", "images", str(tmp_path / "in"), str(tmp_path / "out")]
    assert main([*command, "--split", "1,0,0"]) == 0
    said = capsys.readouterr().out
    assert "left out: 1 (beside the folders of the classes or parts): screenshot.png\n" in said
    assert re.search(r"class cat +4 +0 +0\n  class dog +4 +0 +0\n", said)
    meta = json.loads((tmp_path / "out" / "meta.json").read_text(encoding="utf-8"))
    assert meta["class_names"] == ["cat", "dog"] and meta["images"]["train"] == 8
    assert [entry["count"] for entry in meta["skipped"].values()] == [1]
    for i in range(8):
        Image.fromarray(digits[0][60 + i]).save(tmp_path / "in" / f"{i}.png")
    with pytest.raises(ValueError, match="has 9 pictures beside folders with 8: move each"):
        prepare_images(tmp_path / "in", tmp_path / "no", progress=False)


def test_folders_called_like_parts_are_parts_also_with_other_things_beside_them(tmp_path, digits):
    for part in ("Training", "testing"):
        pictures_in(tmp_path / "in" / part, digits, ["cat", "dog"])
    Image.fromarray(digits[0][50]).save(tmp_path / "in" / "overview.png")
    Image.fromarray(digits[0][51]).save(tmp_path / "in" / "testing" / "loose.png")
    meta = prepare_images(tmp_path / "in", tmp_path / "out", progress=False)
    assert meta["images"] == {"train": 8, "validation": 0, "test": 8}
    assert meta["source"][0]["files"] == 16
    assert meta["class_names"] == ["cat", "dog"]
    (entry,) = meta["skipped"].values()
    assert entry == {"count": 2, "first": ["overview.png", "loose.png"]}
    pictures_in(tmp_path / "in", digits, ["extra"])
    with pytest.raises(ValueError, match="folders Training, testing and also extra"):
        prepare_images(tmp_path / "in", tmp_path / "no", progress=False)
    pictures_in(tmp_path / "none", digits, ["val", "test"])
    with pytest.raises(ValueError, match="folders test, val and none called train"):
        prepare_images(tmp_path / "none", tmp_path / "no", progress=False)
    pictures_in(tmp_path / "rail", digits, ["bus", "train"])  # a class called so
    meta = prepare_images(tmp_path / "rail", tmp_path / "rails", split="1,0,0", progress=False)
    assert meta["class_names"] == ["bus", "train"]


def alpha(picture, opacity):
    """The picture with an alpha channel, of one opacity but for a pixel that is opaque."""
    layer = np.full((*picture.shape[:2], 1), opacity, np.uint8)
    layer[0, 0] = 255
    return np.concatenate([picture.reshape(*picture.shape[:2], -1), layer], 2)


def test_an_opaque_alpha_channel_is_dropped_and_transparency_needs_a_background(
    tmp_path, digits, capsys
):
    picture = colours(digits[0][:1])[0]
    for name, opacity in (("opaque", 255), ("half", 128), ("clear", 0)):
        (tmp_path / name).mkdir()
        Image.fromarray(alpha(picture, opacity)).save(tmp_path / name / "a.png")
        Image.fromarray(picture).save(tmp_path / name / "b.png")
    meta, rows = prepared(tmp_path / "opaque", tmp_path / "1")
    assert rows == [picture.tobytes()] * 2
    assert meta["converted"] == {"an alpha channel without a transparent pixel was dropped": 1}
    (tmp_path / "mixed").mkdir()
    for name, one in (("a", picture), ("b", picture), ("other", alpha(picture[:-1], 255))):
        Image.fromarray(one).save(tmp_path / "mixed" / f"{name}.png")
    meta, rows = prepared(tmp_path / "mixed", tmp_path / "4", skip_bad=True)
    assert len(rows) == 2 and "converted" not in meta  # what is left out is not converted
    for flags in ([], ["--channels", "3"]):
        command = ["prepare", "images", str(tmp_path / "half"), str(tmp_path / "no"), *flags]
        assert main(command) == 2
        assert re.search("a.png has transparent pixels.*--background", capsys.readouterr().err)
    meta, rows = prepared(tmp_path / "clear", tmp_path / "2", background="#0080ff")
    expected = np.full_like(picture, [0, 128, 255])
    expected[0, 0] = picture[0, 0]
    assert rows == sorted([picture.tobytes(), expected.tobytes()])
    assert meta["converted"] == {"transparent pixels were put on #0080ff": 1}
    assert meta["read"]["background"] == "#0080ff"
    _, rows = prepared(tmp_path / "half", tmp_path / "3", background="white")
    mixed = np.round(picture * (128 / 255) + 255 * (127 / 255))
    mixed[0, 0] = picture[0, 0]
    found = [np.frombuffer(row, np.uint8).astype(int) for row in rows]
    assert min(np.abs(row - mixed.reshape(-1)).max() for row in found) <= 1
    with pytest.raises(ValueError, match="--background 'wihte' is no colour"):
        prepare_images(tmp_path / "half", tmp_path / "no", background="wihte", progress=False)
    with pytest.raises(ValueError, match="--background and --skip-bad, not for the format idx"):
        source = BUNDLED / "digits-images-idx3-ubyte.gz"
        prepare_images(source, tmp_path / "no", background="white", progress=False)


def test_a_palette_with_transparency_and_grey_with_alpha(tmp_path, digits):
    grey = digits[0][0]
    Image.fromarray(grey).save(tmp_path / "key.png", transparency=int(grey[0, 0]))
    Image.fromarray(alpha(grey, 0)).save(tmp_path / "la.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "p.png", transparency=int(grey[0, 0]))
    keyed = np.where(grey == grey[0, 0], 255, grey)
    cleared = np.full_like(grey, 255)
    cleared[0, 0] = grey[0, 0]
    meta, rows = prepared(tmp_path, tmp_path / "out", background="white", channels=1)
    assert rows == sorted([keyed.tobytes(), cleared.tobytes(), keyed.tobytes()])
    assert meta["converted"] == {"transparent pixels were put on white": 3}


def test_channels_convert_sixteen_bits_and_cmyk(tmp_path, digits):
    grey = digits[0][0]
    deep = grey.astype(np.uint16) * 256 + 255
    cmyk = np.dstack([255 - grey, grey, grey // 2, np.zeros_like(grey)])
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    Image.fromarray(cmyk, mode="CMYK").save(tmp_path / "cmyk.tif")
    meta, rows = prepared(tmp_path, tmp_path / "out", channels=3)
    shades = np.repeat(grey[..., None], 3, 2)
    inks = np.dstack([grey, 255 - grey, 255 - grey // 2])  # without black, 255 - ink
    assert rows == sorted([shades.tobytes(), shades.tobytes(), inks.tobytes()])
    assert meta["converted"] == {
        "of 16 bits a value the upper 8 were taken": 2,
        "CMYK was converted to RGB": 1,
    }
    for name in ("deep.png", "deep.tif"):
        (tmp_path / name).unlink()
    with pytest.raises(ValueError, match="cmyk.tif has the mode CMYK: .*--channels 1 or 3"):
        prepare_images(tmp_path, tmp_path / "no", progress=False)


def test_colours_of_sixteen_bits_are_cut_to_eight_and_that_is_said(tmp_path, digits):
    picture = colours(digits[0][:1])[0]
    height, width, _ = picture.shape
    deep = (picture.astype(np.uint16) * 256 + 200).astype(">u2").reshape(height, -1)
    lines = b"".join(b"\0" + row.tobytes() for row in deep)
    content = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)  # 16 bits, RGB
    for name, chunk in ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")):
        check = struct.pack(">I", zlib.crc32(name + chunk))
        content += struct.pack(">I", len(chunk)) + name + chunk + check
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "deep.png").write_bytes(content)
    meta, rows = prepared(tmp_path / "in", tmp_path / "out")
    assert rows == [picture.tobytes()]
    assert meta["converted"] == {"of 16 bits a value the upper 8 were taken": 1}


def test_the_first_of_several_frames_is_taken_and_that_is_said(tmp_path, digits):
    first, *others = (Image.fromarray(picture) for picture in digits[0][:3])
    (tmp_path / "in").mkdir()
    first.save(tmp_path / "in" / "a.gif", save_all=True, append_images=others)
    meta, rows = prepared(tmp_path / "in", tmp_path / "out", channels=1)
    assert rows == [digits[0][0].tobytes()]
    assert meta["converted"] == {"of several frames the first was taken": 1}


def test_bad_pictures_are_skipped_if_asked_for_and_counted_and_named(tmp_path, digits, capsys):
    pictures_in(tmp_path / "in", digits, ["cat", "dog"])
    torn = tmp_path / "in" / "cat" / "torn.png"
    torn.write_bytes((tmp_path / "in" / "cat" / "0.png").read_bytes()[:-30])
    (tmp_path / "in" / "cat" / "page.jpg").write_text("<html>")
    Image.fromarray(alpha(digits[0][0], 9)).save(tmp_path / "in" / "dog" / "clear.png")
    command = ["prepare", "images", str(tmp_path / "in"), str(tmp_path / "out")]
    command += ["--split", "1,0,0"]
    assert main(command) == 2
    assert "--skip-bad" in capsys.readouterr().err
    assert main([*command, "--skip-bad"]) == 0
    said = capsys.readouterr().out
    meta = json.loads((tmp_path / "out" / "meta.json").read_text(encoding="utf-8"))
    assert meta["images"]["train"] == 8 and meta["class_names"] == ["cat", "dog"]
    assert meta["skipped"] == {
        "truncated, damaged or too large": {"count": 1, "first": ["cat/torn.png"]},
        "not a picture that can be read": {"count": 1, "first": ["cat/page.jpg"]},
        "transparent pixels and no --background": {"count": 1, "first": ["dog/clear.png"]},
    }
    assert "left out: 1 (truncated, damaged or too large): cat/torn.png\n" in said
    labels = np.fromfile(tmp_path / "out" / "train.labels.bin", "<u2")
    assert sorted(labels) == [0] * 4 + [1] * 4


@pytest.mark.parametrize("skipped", [True, False])
def test_pictures_of_another_size_are_skipped_unless_they_are_the_most(tmp_path, digits, skipped):
    """The first, in the order of the hash, says what is right, unless most contradict it."""
    names = [f"{i}.png" for i in range(6)]
    first = min(names, key=lambda name: by_hash(Path(name)))
    odd = next(name for name in names if (name == first) != skipped)
    for name, picture in zip(names, digits[0]):
        Image.fromarray(picture[:, :6] if name == odd else picture).save(tmp_path / name)
    if not skipped:
        with pytest.raises(ValueError, match=f"5 pictures of .* than .*{first}, and 1 have"):
            prepare_images(tmp_path, tmp_path / "out", skip_bad=True, progress=False)
        return
    meta, rows = prepared(tmp_path, tmp_path / "out", skip_bad=True)
    assert len(rows) == 5
    (entry,) = meta["skipped"].values()
    assert entry == {"count": 1, "first": [odd]}


def test_a_class_is_named_by_its_name_or_its_number():
    data = {"classes": 3, "class_names": ["cat", "dog", "2x"]}
    model = SimpleNamespace(meta={"labels": True, "data": data})
    assert [label_of(said, model) for said in ("cat", "1", "2x", "", "-1")] == [0, 1, 2, None, None]
    assert labels_of("", 4, model) == [0, 1, 2, 0] and labels_of("dog", 2, model) == [1, 1]
    for said in ("cow", "3", "-2"):
        with pytest.raises(ValueError, match=f"--label {said}: .* 0 to 2, called cat, dog, 2x"):
            label_of(said, model)
    with pytest.raises(ValueError, match="knows no classes"):
        label_of("cat", SimpleNamespace(meta={"data": data}))


def test_a_folder_of_pictures_is_whole_or_not_there(tmp_path, monkeypatch):
    from unmask.kinds.images import holes

    pictures = np.arange(4 * 16).astype(np.uint8).reshape(4, 4, 4, 1)
    png, out = holes.png, tmp_path / "out"

    def full(picture):
        if picture[0, 0, 0] == 32:
            raise OSError(28, "No space left on device")
        return png(picture)

    monkeypatch.setattr(holes, "png", full)
    with pytest.raises(OSError, match="No space left"):
        holes.write_pictures(out, pictures)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(holes, "png", png)
    out.mkdir()  # an empty one may be there
    holes.check_pictures_out(str(out))
    holes.write_pictures(out, pictures)
    assert [file.name for file in tmp_path.iterdir()] == ["out"] and len(list(out.iterdir())) == 4
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(ValueError, match="cannot be replaced"):  # before the work
        holes.check_pictures_out(".")


def test_pictures_in_a_folder_of_a_folder_are_not_left_out_unseen(tmp_path):
    from unmask.kinds.images.kind import Images
    from unmask.kinds.images.pixels import png

    kind = Images({"tokenizer": {"shape": [4, 4, 1], "vocab_size": 256}}, tmp_path)
    content = png(np.arange(16).astype(np.uint8).reshape(4, 4, 1))
    (tmp_path / "a.png").write_bytes(content)
    for hidden in (tmp_path / "._a.png", tmp_path / ".cache" / "b.png"):
        hidden.parent.mkdir(exist_ok=True)
        hidden.write_bytes(b"junk")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("no picture")
    assert len(kind.pack(tmp_path).examples) == 1
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.png").write_bytes(content)
    with pytest.raises(ValueError, match=f"has pictures in the folder {tmp_path / 'sub'}: name"):
        kind.pack(tmp_path)


def test_where_no_folder_of_pictures_can_be_is_told_before_the_work(tmp_path):
    from unmask.kinds.images.holes import check_pictures_out

    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="link is a link: name the folder itself"):
        check_pictures_out(str(tmp_path / "link"))
    with pytest.raises(OSError, match="file"):
        check_pictures_out(str(tmp_path / "file" / "out"))
    for out in ("out", "a/b/out"):
        check_pictures_out(str(tmp_path / out))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]
