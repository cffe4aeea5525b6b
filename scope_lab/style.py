"""The one look of all figures: colours, axes, and how a figure reaches a page.

Figures are made without pyplot, so that nothing stays open and no display is needed. Colours mean the same everywhere.
"""

import io
import re
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

# Okabe and Ito's palette: told apart with any colour vision. Shapes and words always say the same again.
COLOURS = {
    "student": "#0072B2",
    "teacher": "#E69F00",
    "correct": "#009E73",
    "wrong": "#D55E00",
    "before": "#767676",
    "after": "#0072B2",
}
METHOD_COLOURS = {"scope": "#0072B2", "opd": "#56B4E9", "grpo": "#CC79A7", "psr": "#333333", "kd": "#A6761D"}
METHOD_COLOURS["reference"] = "#8E4A9E"
METHOD_MARKERS = {"base": "s", "psr": "o", "grpo": "v", "kd": "D", "opd": "^", "opd-one": "<", "scope": "P"}
METHOD_MARKERS["reference"] = "X"
MARKERS = {"correct": "o", "wrong": "X"}
INK, FAINT = "#262626", "#D9D9D9"
# Advantages: purple lowers a token's probability, green raises it.
ADVANTAGE = LinearSegmentedColormap.from_list("advantage", ["#8E4A9E", "#FFFFFF", "#1B8A5A"])


def canvas_of(figure: Figure) -> FigureCanvasAgg:
    """The figure's Agg canvas; a figure that came from elsewhere gets one."""
    canvas = figure.canvas
    return canvas if isinstance(canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)


def new_figure(width: float, height: float) -> Figure:
    """A figure in inches with its own Agg canvas and constrained layout."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def tidy(ax, title: str = "", xlabel: str = "", ylabel: str = "") -> None:
    """The one look of all axes: title on the left, no box, light horizontal lines behind the data."""
    ax.set_title(title, loc="left", fontsize=11.5, color=INK)
    ax.set_xlabel(xlabel, fontsize=10.5, color=INK)
    ax.set_ylabel(ylabel, fontsize=10.5, color=INK)
    ax.tick_params(labelsize=10, colors=INK, length=3)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#8C8C8C")
    ax.grid(axis="y", color=FAINT, linewidth=0.7)
    ax.set_axisbelow(True)


def png(figure: Figure, dpi: int = 144) -> bytes:
    """The figure as a small PNG."""
    canvas = canvas_of(figure)
    figure.set_dpi(dpi)
    canvas.draw()
    return small_png(np.asarray(canvas.buffer_rgba()))


def write_png(figure: Figure, path: str | Path) -> None:
    """Write the figure as a PNG, into a folder that is made where it is missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(png(figure))


def quick_png(canvas: FigureCanvasAgg) -> bytes:
    """What the canvas holds as a PNG of 256 colours, in half the time of full colour and at under half the size."""
    from PIL import Image

    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    image = image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    # The octree's white is 254; the page's is 255.
    image.putpalette([255 if value >= 254 else value for value in image.getpalette() or ()])
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def small_png(pixels) -> bytes:
    """Pixels (height, width, 3 or 4) as a PNG of 256 colours: a third of the size, and the eye sees no difference."""
    from PIL import Image

    image = Image.fromarray(pixels).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def show(figure: Figure, alt: str, dpi: int = 144) -> None:
    """Display a figure in a notebook with its alt text, and the same words below it for every reader."""
    from IPython.display import Markdown, display

    width = round(figure.get_figwidth() * 96)
    metadata = {"image/png": {"alt": alt, "width": width}}
    display({"image/png": png(figure, dpi), "text/plain": alt}, raw=True, metadata=metadata)
    literal = re.sub(r"([*_`<>|\\])", r"\\\1", alt)
    display(Markdown(f"*{literal}*"))


def percent_axis(axis) -> None:
    """Shares as per cent, with the decimals that a tick has: 2.5 % never reads 2 %."""
    axis.set_major_formatter(lambda share, _: f"{100 * share:.3g} %")


PERPLEXITY_TICKS = (1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


def perplexity_axis(ax, low: float, high: float) -> None:
    """A log axis from `low` to `high` per token, with round ticks that keep apart however long it is."""
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    ticks: list[float] = []
    for tick in PERPLEXITY_TICKS:
        if low <= tick <= high and (not ticks or np.log(tick / ticks[-1]) > 0.06 * np.log(high / low)):
            ticks.append(tick)
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
