"""The HTML report and its pictures: it draws, and calls no model."""

from unmask.report.bars import draw_bars
from unmask.report.frames import Frames
from unmask.report.moving import write_gif, write_svg
from unmask.report.picture import picture
from unmask.report.pieces import Figure, Section
from unmask.report.report import some_windows, write_report

__all__ = [
    "Figure", "Frames", "Section", "draw_bars", "picture", "some_windows", "write_gif",
    "write_report", "write_svg",
]  # fmt: skip
