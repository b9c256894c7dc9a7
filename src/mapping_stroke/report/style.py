"""Style of all pictures, and labels of methods."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mapping_stroke.files import written_whole
from mapping_stroke.names import METHOD_LABELS

PIXELS_PER_INCH = 160

INK = "#1f2933"
MUTED = "#66717e"
GRID = "#e3e7eb"
DARK = "#0b0d10"
"""Background around slices of a scan, whose air is black."""
PALE = "#d7dce2"
"""Text and lines on `DARK`."""

HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6f4c9b", "#000000")
"""Okabe and Ito's colours, in the order of use; violet replaces their yellow, which is too pale on white."""

OVERLAP = "#ffe14d"
MISSED = "#2e8bff"
FALSE = "#e03a00"
"""Colours of found, missed and wrongly marked voxels, at least 37 CIELAB units apart for any colour blindness."""
OUTLINE = "#ff9a2e"
"""Border of a lesion on grey anatomy."""

GAP = 1.02
"""Factor between the end of a bar and that of its range, so that bars of adjacent ranges do not touch."""
NOT_CLINICAL = "For research only, not for clinical use."


def new_figure(width_in: float, height_in: float, *, dark: bool = False) -> Figure:
    """An empty figure, independent of any window system or global state; dark ones are for tightly packed slices."""
    tight = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.07, wspace=0.0, hspace=0.0)
    layout = tight if dark else ConstrainedLayoutEngine()
    return Figure(figsize=(width_in, height_in), facecolor=DARK if dark else "white", layout=layout)


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically; the same figure gives the same bytes."""
    content = png_bytes(figure)
    with written_whole(path) as partial:
        partial.write_bytes(content)


def png_bytes(figure: Figure) -> bytes:
    """A figure as PNG; the same figure gives the same bytes."""
    figure.set_dpi(PIXELS_PER_INCH)
    if layout := figure.get_layout_engine():
        layout.execute(figure)
        figure.set_layout_engine("none")  # saving would lay it out, and draw it, twice
    content = BytesIO()
    figure.savefig(content, format="png", dpi=PIXELS_PER_INCH, metadata={"Software": None})
    return content.getvalue()


def plain_axes(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Style the axes of a plot: light grid, no box, a title at the left."""
    axes.set_title(title, loc="left", fontsize=10, color=INK, fontweight="bold")
    axes.set_xlabel(x_label, fontsize=9, color=INK)
    axes.set_ylabel(y_label, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, colors=MUTED, length=3)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)


def bare(axes: Axes) -> None:
    """Leave out ticks, labels and frame. Ticks would be measured at every layout, although they are not drawn."""
    axes.set(xticks=[], yticks=[])
    axes.set_axis_off()


def no_data(axes: Axes, text: str) -> None:
    """Write in the middle of an axes why it is empty."""
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, fontsize=9, color=MUTED)
    bare(axes)


def side_note(axes: Axes, text: str) -> None:
    """Write a note above an axes, at the right."""
    axes.set_title(text, loc="right", fontsize=8.5, color=MUTED)


def row_label(axes: Axes, text: str, size: float) -> None:
    """Write vertical text at the left of a row of slices."""
    at = axes.transAxes
    axes.text(
        -0.05, 0.5, text, transform=at, rotation=90, ha="right", va="center", ma="center", fontsize=size, color=PALE
    )


def caption(axes: Axes, text: str, size: float = 8.5) -> None:
    """Write a line below a slice."""
    axes.text(0.5, -0.02, text, transform=axes.transAxes, ha="center", va="top", fontsize=size, color=PALE)


def legend_below(figure: Figure, handles: Sequence[Patch | Line2D], title: str) -> None:
    """Add a one-line legend below a dark figure, with a sentence above it."""
    legend = figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=max(len(handles), 1),
        title=title,
        fontsize=7.5,
        frameon=False,
        labelcolor=PALE,
    )
    legend.get_title().set(color=PALE, fontsize=7)


def bar_ends(values: Sequence[float], limits: tuple[float, float], beyond: float) -> tuple[float, float]:
    """Ends of a bar over some values on a logarithmic axis: a factor beyond them, and just inside of their range."""
    lower, upper = limits
    return max(min(values) / beyond, lower * GAP), min(max(values) * beyond, upper / GAP)


def method_label(method: str) -> str:
    """The published name of a method, or its own."""
    return METHOD_LABELS.get(method, method)


def short_id(case_id: str) -> str:
    """A case id that fits next to a slice; long ones keep only their ends."""
    return case_id if len(case_id) <= 28 else f"{case_id[:12]}…{case_id[-13:]}"


def load_words(load_ml: float) -> str:
    """A lesion load with about two digits: `0 mL`, `0.013 mL`, `0.18 mL`, `5.2 mL`, `131 mL`."""
    if not load_ml:
        return "0 mL"
    decimals = 3 if load_ml < 0.095 else 2 if load_ml < 0.95 else 1 if load_ml < 9.5 else 0
    return f"{load_ml:.{decimals}f} mL"
