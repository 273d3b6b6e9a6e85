"""What is stored, how much room there is, and collecting what nobody needs. For who runs the service."""

import shutil
from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import OperatorDep, ServicesDep
from api.openapi import problems
from api.room import check_room
from api.schemas.storage import BytesView, CollectionView, StorageView
from store import chores, collect
from store.errors import BlobsForeign, ChoreTaken, StorageFull

router = APIRouter(prefix="/v1/system/storage", tags=["system"])


@router.get("", summary="See what is stored")
def get_storage(services: ServicesDep, operator: OperatorDep) -> StorageView:
    """Bytes of datasets, checkpoints and models, and room on the disk. Looks at every blob: do not poll."""
    used = collect.usage(services.database, services.blobs)
    disk = shutil.disk_usage(services.settings.volumes[-1])
    with services.database.read() as session:
        collected_at = chores.done_at(session, collect.CHORE)
    try:
        check_room(services.settings)
    except StorageFull:
        full = True
    else:
        full = False
    return StorageView(
        bytes=BytesView(**vars(used)),
        free_bytes=disk.free,
        total_bytes=disk.total,
        min_free_bytes=services.settings.min_free_bytes,
        full=full,
        last_collected_at=collected_at,
    )


@router.post("/collect", summary="Collect old blobs", responses=problems(ChoreTaken, BlobsForeign))
def collect_storage(
    services: ServicesDep,
    operator: OperatorDep,
    dry_run: Annotated[bool, Query(description="Only say what would be deleted.")] = False,
) -> CollectionView:
    """Deletes what nothing refers to any more; happens by itself about once an hour."""
    if dry_run:
        grace = services.settings.collect_grace_seconds
        planned = collect.plan(services.database, services.blobs, grace_seconds=grace)
        return CollectionView.of(planned.summary(), dry_run=True)
    outcome = collect.run(services.database, services.blobs, services.settings)
    return CollectionView.of(outcome, dry_run=False)
