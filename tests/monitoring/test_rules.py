"""Rules, configuration and dashboard: as promtool wants them, and of metrics that there are."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from api.app import create_app
from api.settings import Settings
from store.sessions import migrate
from tests.monitoring.prometheus import SOURCES, alerts
from worker import instruments
from worker.settings import WorkerSettings

GRAFANA = SOURCES / "grafana"
DOCUMENT = Path(__file__).parents[2] / "docs" / "observability.md"
_NAME = re.compile(r"\bharmonicdet_[a-z_]+")
_OF_A_HISTOGRAM = re.compile(r"_(bucket|count|sum)$")


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    return found


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Names of our metrics, as they are exposed, and their types."""
    data = tmp_path_factory.mktemp("data")
    settings = Settings(data=data)
    migrate(settings.database_url)
    app = create_app(settings)
    with TestClient(app, base_url="http://localhost") as client:
        client.get("/healthz")
        told = {**_told(app.state.registry), **_told(_of_a_worker(data))}
    return {name: kind for name, kind in told.items() if name.startswith("harmonicdet_")}


def _of_a_worker(data: Path) -> CollectorRegistry:
    return instruments.registry(WorkerSettings(data=data), "train", lambda: None)


def _told(registry: CollectorRegistry) -> dict[str, str]:
    suffix = {"counter": "_total", "info": "_info"}
    return {family.name + suffix.get(family.type, ""): family.type for family in registry.collect()}


def test_rules_and_configuration_are_valid(promtool: str) -> None:
    for command in (["check", "rules", "rules.yml"], ["check", "config", "prometheus.yml"]):
        done = subprocess.run([promtool, *command], cwd=SOURCES, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_should_and_not_else(promtool: str, tmp_path: Path) -> None:
    shutil.copy(SOURCES / "rules.yml", tmp_path)
    shutil.copy(Path(__file__).with_name("rules_test.yml"), tmp_path)
    command = [promtool, "test", "rules", "rules_test.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_asked_for_exists(metrics: dict[str, str]) -> None:
    expressions = [
        rule["expr"] for rule in yaml.safe_load((SOURCES / "rules.yml").read_text())["groups"][0]["rules"]
    ]
    expressions += [target["expr"] for panel in _panels() for target in panel["targets"]]
    asked = {_OF_A_HISTOGRAM.sub("", name) for one in expressions for name in _NAME.findall(one)}
    asked = {
        name for name in asked if f"{name.replace('harmonicdet_', 'harmonicdet:', 1)}" not in expressions
    }
    known = set(metrics) | {"harmonicdet_checkpoint_bytes"}
    assert asked - {"harmonicdet_worker", "harmonicdet_api"} <= known, asked - known
    assert len(asked) > 15


def test_the_document_tells_of_every_metric_and_alert(metrics: dict[str, str]) -> None:
    rows = dict(re.findall(r"^\| `(harmonicdet_\w+)` \| (\w+) \|", DOCUMENT.read_text(), re.MULTILINE))
    assert rows == metrics
    headings = re.findall(r"^### (HarmonicDet\w+)$", DOCUMENT.read_text(), re.MULTILINE)
    assert headings == alerts()


def test_no_label_is_without_bound(tmp_path: Path, metrics: dict[str, str]) -> None:
    """Every label is one whose values are listed somewhere in the code."""
    bounded = {"queue", "kind", "status", "phase", "state", "reason", "outcome", "method", "route", "folder"}
    bounded |= {"le", "version", "python", "role"}
    for family in _of_a_worker(tmp_path).collect():
        for sample in family.samples:
            if sample.name.startswith("harmonicdet"):
                assert set(sample.labels) <= bounded, sample


def test_the_dashboard_is_provisioned_with_panels_that_fit() -> None:
    ids = [panel["id"] for panel in _panels()]
    assert len(ids) == len(set(ids))
    for panel in _panels():
        assert panel["title"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert all(target["datasource"]["uid"] == "harmonicdet" for target in panel["targets"])
    sources = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())
    assert [source["uid"] for source in sources["datasources"]] == ["harmonicdet"]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "harmonicdet.yml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"


def _panels() -> Iterator[dict[str, Any]]:
    dashboard = json.loads((GRAFANA / "dashboards" / "harmonicdet.json").read_text())
    assert dashboard["uid"] == "harmonicdet"
    yield from (panel for panel in dashboard["panels"] if panel["type"] != "row")
