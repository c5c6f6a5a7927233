"""A page of pixels with the origin at the top left, and the colours of Grafana's dark theme."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGE, PANEL, BORDER = "#111217", "#181b1f", "#2c3036"
TEXT, FAINT, GRID, LINK = "#ccccdc", "#8e9099", "#26292f", "#6e9fff"
PALETTE = (
    "#73BF69",
    "#F2CC0C",
    "#8AB8FF",
    "#FF780A",
    "#F2495C",
    "#5794F2",
    "#B877D9",
    "#37872D",
    "#FADE2A",
    "#C4162A",
    "#8F3BB8",
    "#FFB357",
    "#56A64B",
    "#3274D9",
)
_NAMES = {
    "green": "#73BF69",
    "yellow": "#FADE2A",
    "orange": "#FF9830",
    "red": "#F2495C",
    "blue": "#5794F2",
    "purple": "#B877D9",
    "text": TEXT,
    "transparent": "none",
}
_DPI = 100
_COLOURS = 128


def colour(name: str) -> str:
    """A colour of Grafana as matplotlib takes it."""
    return _NAMES.get(name, name)


def by_name(name: str) -> str:
    """The colour that a series always has, by its name."""
    number = 0
    for character in name:
        number = (31 * number + ord(character)) & 0xFFFFFFFF
    if number >= 1 << 31:
        number -= 1 << 32
    return PALETTE[abs(number) % len(PALETTE)]


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    x: float
    y: float
    w: float
    h: float

    def inside(self, left: float, top: float, right: float, bottom: float) -> Box:
        """The rectangle without margins."""
        return Box(self.x + left, self.y + top, max(self.w - left - right, 1), max(self.h - top - bottom, 1))

    def columns(self, count: int, gap: float = 0) -> list[Box]:
        """Rectangles of the same width beside each other."""
        width = (self.w - gap * (count - 1)) / count
        return [Box(self.x + n * (width + gap), self.y, width, self.h) for n in range(count)]

    def rows(self, count: int, gap: float = 0) -> list[Box]:
        """Rectangles of the same height below each other."""
        height = (self.h - gap * (count - 1)) / count
        return [Box(self.x, self.y + n * (height + gap), self.w, height) for n in range(count)]


class Canvas:
    """Draws into one picture."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        with mpl.rc_context({"font.family": "DejaVu Sans"}):
            self.figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=PAGE)
        self._canvas = FigureCanvasAgg(self.figure)

    def rectangle(self, box: Box, fill: str, edge: str = "none", radius: float = 0) -> None:
        """A filled rectangle."""
        x, y = box.x / self.width, 1 - (box.y + box.h) / self.height
        w, h = box.w / self.width, box.h / self.height
        if radius:
            patch: FancyBboxPatch | Rectangle = FancyBboxPatch(
                (box.x, self.height - box.y - box.h),
                box.w,
                box.h,
                boxstyle=f"round,pad=0,rounding_size={radius}",
                transform=None,
            )
        else:
            patch = Rectangle((x, y), w, h, transform=self.figure.transFigure)
        patch.set(facecolor=fill, edgecolor=edge, linewidth=0.8)
        self.figure.add_artist(patch)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        fill: str = TEXT,
        *,
        align: str = "left",
        bold: bool = False,
        within: float | None = None,
    ) -> float:
        """Text with its middle at ``y``, cut to a width; returns the width that it has."""
        shown = text if within is None else self.cut(text, size, within, bold=bold)
        self.figure.text(
            x / self.width,
            1 - y / self.height,
            shown.replace("$", r"\$"),
            fontsize=size * 72 / _DPI,
            color=fill,
            ha=align,
            va="center_baseline",
            fontweight="bold" if bold else "normal",
            zorder=5,
        )
        return self.measure(shown, size, bold=bold)

    def measure(self, text: str, size: float, *, bold: bool = False) -> float:
        """The width of a text."""
        renderer = self._canvas.get_renderer()  # type: ignore[no-untyped-call] # of matplotlib
        font = mpl.font_manager.FontProperties(
            family="DejaVu Sans", size=size * 72 / _DPI, weight="bold" if bold else "normal"
        )
        width, _, _ = renderer.get_text_width_height_descent(text or " ", font, ismath=False)
        return float(width)

    def cut(self, text: str, size: float, within: float, *, bold: bool = False) -> str:
        """The text, shortened by an ellipsis where it is too wide."""
        if self.measure(text, size, bold=bold) <= within:
            return text
        length = bisect_left(
            range(len(text)), within, key=lambda end: self.measure(text[:end] + "…", size, bold=bold)
        )
        return text[: max(length - 1, 0)].rstrip() + "…"

    def axes(self, box: Box, *, bare: bool = False) -> Axes:
        """A coordinate system without a frame; ``bare`` without ticks and grid."""
        axes = self.figure.add_axes(
            (
                box.x / self.width,
                1 - (box.y + box.h) / self.height,
                box.w / self.width,
                box.h / self.height,
            )
        )
        axes.set_zorder(3)  # above the rectangles of the figure
        axes.set_facecolor("none")
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.tick_params(length=0, colors=FAINT, labelsize=10 * 72 / _DPI, pad=4)
        if bare:
            axes.set_axis_off()
        else:
            axes.grid(visible=True, color=GRID, linewidth=0.8)
            axes.set_axisbelow(True)
        return axes

    def save(self, path: Path) -> None:
        """Writes a PNG with few colours."""
        self._canvas.draw()  # type: ignore[no-untyped-call] # of matplotlib
        pixels = self._canvas.buffer_rgba()  # type: ignore[no-untyped-call] # of matplotlib
        image = Image.frombuffer("RGBA", self._canvas.get_width_height(), pixels)
        image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
