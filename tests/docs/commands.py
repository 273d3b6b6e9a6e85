"""The reference of the command line, as typer writes it."""

import typer.main
from typer.cli import get_docs_for_click

from harmonicdet.cli import app


def reference() -> str:
    """Markdown of every command with its arguments and options."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="harmonicdet")
    text: str = get_docs_for_click(obj=command, ctx=context, name="harmonicdet", title="Commands")
    return text
