"""Named protocols for tables."""

from dataclasses import dataclass

from unmask.kinds.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class TableRecipe(Recipe):
    names: tuple[str, ...]  # the file, in a folder
    columns: tuple[str, ...]  # of a file without a header
    comment: str  # lines that begin so are none of the table's
    ending: str  # that is taken off the last cell of a row
    how: str  # in words


ADULT = "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05"

PROTOCOLS: dict[str, TableRecipe] = {
    "adult": TableRecipe(
        about="the 16,281 test rows of UCI Adult, numbers as the model's bins",
        source="adult.test of UCI Adult, or its folder",
        names=("adult.test",), official=(ADULT,),
        columns=(
            "age", "workclass", "fnlwgt", "education", "education-num", "marital-status",
            "occupation", "relationship", "race", "sex", "capital-gain", "capital-loss",
            "hours-per-week", "native-country", "income",
        ),
        comment="|", ending=".",
        how="rows of the test file, the stop after the label taken off; numbers as the bins of "
        "the model",
    ),
}  # fmt: skip
