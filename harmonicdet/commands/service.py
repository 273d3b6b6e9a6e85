"""`harmonicdet status`, `workers`, `architectures`."""

from typing import Annotated

import typer

from harmonicdet.commands.shared import Json, Url, ago, asked, listed, megabytes, print_json, show


def status(url: Url = None, as_json: Json = False) -> None:
    """Shows which service it is, who is asking, and how much is stored."""
    with asked(url) as client:
        index, me = client.index(), client.me()

        def lines() -> list[tuple[str, object]]:
            limit = f" of {megabytes(me.quotas.max_bytes)}" if me.quotas.max_bytes else ""
            return [
                ("service", f"{index.name} {index.version} at {client.transport.url}"),
                ("project", me.project.name),
                ("allowed", ", ".join(me.scopes)),
                ("stored", f"{megabytes(me.usage.bytes)}{limit}"),
            ]

        show(me, as_json, lines)


def workers(url: Url = None, as_json: Json = False) -> None:
    """Lists the processes that do the jobs."""
    with asked(url) as client:
        listed(
            client.workers.list(),
            as_json,
            ["name", "queue", "device", "job", "heard of", ""],
            lambda one: [
                *(one.name, one.queue, one.device, one.job_id, ago(one.heartbeat_at)),
                one.blocked or ("draining" if one.draining else ""),
            ],
        )


def architectures(
    name: Annotated[str | None, typer.Argument(help="Print the JSON Schema of this one's config.")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Lists the detectors that can be trained, or prints what may be said of one."""
    with asked(url) as client:
        if name is not None:
            print_json(client.architectures.schema(name))
        else:
            listed(
                client.architectures.list(),
                as_json,
                ["name", "what it is"],
                lambda one: [one.id, one.description.splitlines()[0]],
            )
