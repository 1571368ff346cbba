"""The HTML report and its pictures: it draws, and calls no model."""

from unmask.report.bars import draw_bars
from unmask.report.report import Figure, Frames, picture, write_report

__all__ = ["Figure", "Frames", "draw_bars", "picture", "write_report"]
