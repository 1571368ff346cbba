"""A configuration for tables."""

from unmask.config import Preset, TrainConfig

TABLE = TrainConfig(
    length=0, dim=128, layers=4, heads=4, traits=True, batch_size=256, learning_rate=3e-3,
    focus=4.0, minutes=2.0, eval_minutes=0.5, eval_windows=2000,
)  # fmt: skip

PRESETS = {
    "table": Preset(
        TABLE,
        "A small transformer over the cells of a row, for a table of some ten columns and tens of "
        "thousands of rows; unmask demo --data table's. Command: unmask train table --data DATA "
        "--out RUN. Cost: 2 minutes on two CPU cores. Expected on the bundled census: a bound of "
        "about 1.3 bits per place (17 places of 14 columns, three of which have missing cells); "
        "every column by its own histogram takes 1.70. For thousands of steps give --focus 0.",
    )
}
