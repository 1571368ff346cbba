"""The HTML report and its pictures: it draws, and calls no model."""

from unmask.report.bars import draw_bars
from unmask.report.frames import Frames
from unmask.report.moving import write_gif, write_svg
from unmask.report.report import Figure, picture, write_report

__all__ = [
    "Figure", "Frames", "draw_bars", "picture", "write_gif", "write_report", "write_svg",
]  # fmt: skip
