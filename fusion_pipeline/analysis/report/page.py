"""What a page shows becomes one HTML document that needs nothing else: no network, no other file.

Every text goes through Jinja2's escaping; names from outside are isolated as well, as `names` does it. The page's
policy allows the one script that is in it, by its digest, and pictures in data URIs; a browser loads nothing else.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fusion_pipeline.analysis.figures.drawing import COLOURED, colour
from fusion_pipeline.analysis.report.names import as_html, as_text, name_html
from fusion_pipeline.errors import printable

_PACKAGE = "fusion_pipeline.analysis.report"


def render(template: str, title: str, experts: int, content: Mapping[str, Any]) -> str:
    """Return a page.

    Parameters
    ----------
    template : str
        Name of a file in `templates`.
    title : str
        With names between marks.
    experts : int
        How many experts have a colour, that of the figures.
    content : mapping
        What the template shows.
    """
    script = _own("page.js")
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            **content,
            title=title,
            style=Markup(_own("page.css") + _colour_rules(experts)),  # noqa: S704  files of this package
            script=Markup(script),  # noqa: S704
            script_hash=f"'sha256-{digest}'",
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(html=as_html, text=as_text, name=name_html, printable=printable)
    # Without blanks: the records of a thousand images are a tenth of the page.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}
    return environment


def _own(name: str) -> str:
    return (files(_PACKAGE) / "templates" / name).read_text(encoding="utf-8")


def _colour_rules(experts: int) -> str:
    """Return the rules for the colours of figures and experts: on dark paper each is somewhat lighter."""
    light = "".join(f"--expert-{number}: {colour(number)}; " for number in range(COLOURED))
    dark = "".join(
        f"--expert-{number}: color-mix(in srgb, {colour(number)} 75%, white); " for number in range(COLOURED)
    )
    classes = "".join(f".c{number} {{ --colour: var(--expert-{number % COLOURED}); }}\n" for number in range(experts))
    return f":root {{ {light}}}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark}}} }}\n{classes}"
