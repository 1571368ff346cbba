"""Named protocols for proteins."""

from dataclasses import dataclass

from unmask.kinds.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class ProteinRecipe(Recipe):
    shares: str  # of `prepare`


PROTOCOLS: dict[str, ProteinRecipe] = {
    "uniprot": ProteinRecipe(
        about="one in twenty sequences of a UniProt file, by hash, in windows of up to 512",
        source="a FASTA file of UniProt; there are many, and no official one",
        length=512, shares="0.9,0.05,0.05",
    ),
}  # fmt: skip
