"""Hooks of the documentation's site: pages that are made from the code, and links that lead out of `docs`."""

import json
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tests.client import generate
from tests.docs import commands, rest

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)*)([^)#:]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what no file of `docs` has."""
    described = generate.description()
    pages = {
        "index.md": _moved((ROOT / "README.md").read_text()),
        "contributing.md": _moved((ROOT / "CONTRIBUTING.md").read_text()),
        "tutorial.md": _notebook(ROOT / "docs" / "client.ipynb"),
        "reference/rest.md": rest.operations(described),
        "reference/objects.md": rest.objects(described),
        "reference/client.md": _client(),
        "reference/commands.md": commands.reference(),
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A link to a file that is no page becomes the file's name."""
    depth = page.file.src_uri.count("/")

    def readable(link: re.Match[str]) -> str:
        text, ups, target, _ = link.groups()
        is_outside = ups.count("/") > depth
        return f"{text} (`{target}`)" if is_outside else link[0]

    return _LINK.sub(readable, markdown)


def _moved(text: str) -> str:
    """Of a file beside `docs`, as if it stood in it."""

    def moved(link: re.Match[str]) -> str:
        text, ups, target, anchor = link.groups()
        if target.startswith("docs/"):
            return f"[{text}]({target.removeprefix('docs/')}{anchor or ''})"
        if target == "CONTRIBUTING.md":
            return f"[{text}](contributing.md{anchor or ''})"
        return f"{text} (`{ups}{target}`)"

    return _LINK.sub(moved, text).replace("](docs/images/", "](images/")


def _notebook(path: Path) -> str:
    """Its cells; what they show is said in their text."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    return "\n\n".join(parts) + "\n"


def _client() -> str:
    """Directives of mkdocstrings for the public classes of the client."""
    package = "harmonicdet.client"
    classes: list[tuple[str, list[str]]] = [
        ("synchronous.client", ["Client"]),
        ("synchronous.datasets", ["Dataset", "Datasets"]),
        ("synchronous.jobs", ["Job", "Jobs"]),
        ("synchronous.models", ["ModelDetail", "Models", "Aliases"]),
        ("synchronous.predictions", ["Prediction"]),
        ("synchronous.evaluations", ["EvaluationDetail", "Evaluations"]),
        ("synchronous.comparisons", ["ComparisonDetail", "Comparisons"]),
        ("synchronous.searches", ["SearchDetail", "Searches"]),
        (
            "synchronous.operating",
            ["Architectures", "Uploads", "Webhooks", "Keys", "Workers", "Storage"],
        ),
        ("synchronous.pages", ["Pages"]),
    ]
    head = (
        "# Python client\n\n"
        "[How it is used](../client.md). `AsyncClient` has the same, to be awaited: "
        "`await client.jobs.get(id)`, `async for job in client.jobs.list()`, "
        "`async with AsyncClient() as client`.\n"
    )
    directives = [
        f"::: {package}.{module}.{name}\n    options:\n      inherited_members: true\n"
        for module, names in classes
        for name in names
    ]
    return "\n".join([head, *directives])
