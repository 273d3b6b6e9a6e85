"""What every process tells Prometheus, and the port on which it does so without a key."""

import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from prometheus_client import GC_COLLECTOR, CollectorRegistry, Info, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from store.errors import SettingsInvalid
from store.settings import StoreSettings


def new_registry(settings: StoreSettings, role: str) -> CollectorRegistry:
    """A registry with what all processes have in common; `role` is `api` or the queue of a worker."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(GC_COLLECTOR)
    build = Info("harmonicdet_build", "The version that runs.", registry=registry)
    build.info({"version": own_version(), "python": platform.python_version(), "role": role})
    folders = {"data": settings.data}
    if settings.blobs_folder is not None:
        folders["blobs"] = settings.blobs_folder
    registry.register(Disks(folders, settings.min_free_bytes))
    return registry


@contextmanager
def exposed(registry: CollectorRegistry, settings: StoreSettings) -> Iterator[None]:
    """Answers Prometheus on the port of its own, if one is set. Raises `SettingsInvalid` when it is taken."""
    if not settings.metrics_port:
        yield
        return
    try:
        server, thread = start_http_server(settings.metrics_port, settings.metrics_host, registry)
    except OSError as error:
        where = f"{settings.metrics_host}:{settings.metrics_port}"
        raise SettingsInvalid(
            f"HARMONICDET_METRICS_PORT: {where} cannot be used ({error.strerror})"
        ) from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5.0)


class Disks(Collector):
    """Room on the disks of the folders, looked at when somebody asks."""

    def __init__(self, folders: Mapping[str, Path], reserve_bytes: int) -> None:
        self._folders = folders
        self._reserve_bytes = reserve_bytes

    def collect(self) -> Iterator[GaugeMetricFamily]:
        free = GaugeMetricFamily(
            "harmonicdet_disk_free_bytes", "Bytes that this process may still write.", labels=["folder"]
        )
        size = GaugeMetricFamily("harmonicdet_disk_size_bytes", "Size of the disk.", labels=["folder"])
        for name, folder in self._folders.items():
            if folder.exists():
                disk = shutil.disk_usage(folder)
                free.add_metric([name], disk.free)
                size.add_metric([name], disk.total)
        yield free
        yield size
        yield GaugeMetricFamily(
            "harmonicdet_disk_reserve_bytes",
            "With less room than this nothing new is begun (HARMONICDET_MIN_FREE_BYTES).",
            value=self._reserve_bytes,
        )


def own_version() -> str:
    """Of this program."""
    try:
        return version("harmonicdet")
    except PackageNotFoundError:  # run from its source, as in the container
        return "0.1.0"
