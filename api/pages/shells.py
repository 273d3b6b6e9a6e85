"""The pages as the server gives them: layout, headings, forms and empty tables, the same for everybody.

Nothing that belongs to anybody is in them, so that each is rendered once in the life of the process. What a
page shows it asks of the REST routes, as its reader.
"""

import hashlib
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from api.pages import assets
from store.monitoring import own_version

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
"""Nothing inline, nothing from elsewhere."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}

PAGES: dict[str, str] = {
    "/": "home",
    "/sign-in": "sign_in",
    "/datasets": "datasets",
    "/datasets/{id}": "dataset",
    "/train": "train",
    "/jobs": "jobs",
    "/jobs/{id}": "job",
    "/models": "models",
    "/models/{id}": "model",
    "/evaluations": "evaluations",
    "/evaluations/{id}": "evaluation",
    "/comparisons": "comparisons",
    "/comparisons/{id}": "comparison",
    "/searches": "searches",
    "/searches/{id}": "search",
}
"""Path and template of every page."""


@dataclass(frozen=True)
class Shell:
    """A rendered page."""

    asset: assets.Asset
    etag: str


@cache
def shell(name: str) -> Shell:
    """The page made of this template."""
    charts = assets.charts_version()
    text = (
        _environment()
        .get_template(f"{name}.html")
        .render(
            page=name,
            static=f"/static/{assets.version()}",
            charts=f"/static/plotly-{charts}/{assets.CHARTS}" if charts else "",
            version=own_version(),
        )
    )
    content = text.encode()
    return Shell(
        assets.made(content, "text/html; charset=utf-8"), f'W/"{hashlib.sha256(content).hexdigest()[:16]}"'
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("api.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
