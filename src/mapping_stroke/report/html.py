"""Templates of the HTML pages: one environment with the formats of numbers, and the files that pages embed."""

import base64
import json
import math
from functools import cache
from importlib.metadata import version
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mapping_stroke.console import warn
from mapping_stroke.evaluation.cohorts import Estimate
from mapping_stroke.report.style import load_words, method_label
from mapping_stroke.report.tables import NONE, metric_head

VIEWER, LICENCES = "niivue.js.gz", "niivue-licences.txt"
"""The viewer library and its licences, which the build puts there (`hatch_build.py`)."""


def render(template: str, **values: object) -> str:
    """A page from one of the templates. Text is escaped unless it is `Markup`; `version` is this software's."""
    jinja = Environment(
        loader=PackageLoader("mapping_stroke.report"),
        autoescape=True,
        undefined=StrictUndefined,  # a wrong name in the template must not become an empty text
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters.update(
        number=_number,
        signed=_signed,
        ends=_ends,
        p_value=p_value,
        load=load_words,
        method=method_label,
        head=metric_head,
    )
    jinja.globals["style_sheet"] = style_sheet
    return jinja.get_template(template).render(version=version("mapping-stroke"), **values)


def asset(name: str) -> Markup:
    """A style sheet or script of the pages, to be embedded."""
    return Markup(files("mapping_stroke.report").joinpath("viewer", name).read_text("utf-8"))


def style_sheet(name: str) -> Markup:
    """The style sheet of a kind of page, after the colours and type that all pages share."""
    return asset("theme.css") + asset(name)


def embedded_json(value: object) -> Markup:
    """JSON for a script element, in which `</script>` must not occur."""
    return Markup(json.dumps(value).replace("<", "\\u003c"))


@cache
def viewer_library() -> Markup:
    """The gzipped viewer library in base64; empty if the package was installed without it, which is warned of once."""
    library = files("mapping_stroke.report").joinpath("viewer", VIEWER)
    if not library.is_file():
        warn(f"pages lack their interactive view: report/viewer/{VIEWER} is not installed; reinstall the package")
        return Markup("")
    return Markup(base64.b64encode(library.read_bytes()).decode("ascii"))


@cache
def viewer_licences() -> str:
    """The licences of all that is in the viewer library; empty without it."""
    licences = files("mapping_stroke.report").joinpath("viewer", LICENCES)
    return licences.read_text("utf-8") if licences.is_file() else ""


def p_value(value: float) -> str:
    """A p-value with three decimals; tiny ones as a limit."""
    return NONE if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _number(value: float, decimals: int = 2) -> str:
    return NONE if math.isnan(value) else f"{value:.{decimals}f}"


def _signed(value: float) -> str:
    """A difference with three significant digits, as the metrics differ in size."""
    return NONE if math.isnan(value) else f"{value:+z.{_decimals(value)}f}"


def _decimals(value: float) -> int:
    return 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0


def _ends(estimate: Estimate, decimals: int | None = None) -> str:
    if math.isnan(estimate.low):
        return NONE
    shown = _decimals(max(abs(estimate.low), abs(estimate.high))) if decimals is None else decimals
    return f"[{estimate.low:z.{shown}f}, {estimate.high:z.{shown}f}]"
