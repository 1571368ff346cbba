"""Named protocols for pictures."""

from dataclasses import dataclass

from unmask.kinds.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class PictureRecipe(Recipe):
    names: tuple[str, ...]  # the file, in a folder
    format: str
    shape: tuple[int, int, int] | None = None  # of a format that does not state its own
    levels: int
    how: str  # in words


MNIST_BITS = "9fcd8da6f0fdf09b2ba30fe63a0bb784042a0de82563172530229b983e294ff2"

PROTOCOLS: dict[str, PictureRecipe] = {
    "cifar10-bpd": PictureRecipe(
        about="CIFAR-10's 10,000 test images, bits per dimension of 256 values",
        source="test_batch.bin of CIFAR-10 (binary version), or its folder",
        names=("test_batch.bin", "cifar-10-batches-bin/test_batch.bin"),
        format="cifar10", levels=256, how="pixels as they are, no flips",
    ),
    "mnist-binarized": PictureRecipe(
        about="the 10,000 test images of Larochelle's static binarization of MNIST",
        source="binarized_mnist_test, packed, 98 bytes an image, first bit highest, or its folder",
        names=("binarized_mnist_test.packbits.u8",), official=(MNIST_BITS,),
        format="packbits", shape=(28, 28, 1), levels=2, how="bits as published",
    ),
}  # fmt: skip
