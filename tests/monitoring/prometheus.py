"""Debian's Prometheus on the rules and the configuration of `docker/monitoring`, with nothing changed in them
but how long everything takes and where the processes listen."""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from tests.servers import free_port

SOURCES = Path(__file__).parents[2] / "docker" / "monitoring"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_EVERY = "1s"


def program() -> str | None:
    """Prometheus, if it is installed."""
    return shutil.which("prometheus")


def rules(patience: float) -> dict[str, Any]:
    """The rules, each of which waits `patience` times as long as it says; no expression is touched."""
    found: dict[str, Any] = yaml.safe_load((SOURCES / "rules.yml").read_text())
    for group in found["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = f"{max(1, round(_seconds(rule['for']) * patience))}s"
    return found


def alerts() -> list[str]:
    """Names of all there are."""
    return [rule["alert"] for rule in rules(1)["groups"][0]["rules"] if "alert" in rule]


def configuration(targets: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """The configuration for processes of this machine, by the name of the job."""
    found: dict[str, Any] = yaml.safe_load((SOURCES / "prometheus.yml").read_text())
    found["global"] = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), _EVERY)
    jobs = []
    for job in found["scrape_configs"]:
        if job["job_name"] in targets:
            ports = targets[job["job_name"]]
            jobs.append(
                {
                    "job_name": job["job_name"],
                    "static_configs": [{"targets": [f"127.0.0.1:{p}" for p in ports]}],
                }
            )
    found["scrape_configs"] = jobs
    return found


class Prometheus:
    """Use as a context manager; `targets` are ports on loopback."""

    def __init__(self, targets: Mapping[str, Sequence[int]], *, patience: float) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="harmonicdet-prometheus-"))
        (self._root / "rules.yml").write_text(yaml.safe_dump(rules(patience), width=10_000))
        (self._root / "prometheus.yml").write_text(yaml.safe_dump(configuration(targets)))
        self._port = free_port()
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=10)

    def __enter__(self) -> Self:
        with (self._root / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(program()),
                    f"--config.file={self._root / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._root / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._root,
            )
        try:
            until(self._is_ready, 60, lambda: (self._root / "log").read_text()[-2000:])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._process.kill()
        self._process.wait(20)
        shutil.rmtree(self._root, ignore_errors=True)

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        found = self._client.get("/api/v1/alerts").json()["data"]["alerts"]
        return {one["labels"]["alertname"] for one in found if one["state"] == "firing"}

    def broken(self) -> list[str]:
        """What is wrong with rules: each says why it could not be evaluated."""
        groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule["lastError"] for group in groups for rule in group["rules"] if rule.get("lastError")]

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """Series and their values now."""
        answer = self._client.get("/api/v1/query", params={"query": expression}).json()
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError((self._root / "log").read_text())
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False


def until(condition: Callable[[], object], seconds: float, explain: Callable[[], object]) -> float:
    """After how many seconds the condition was true."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        assert waited < seconds, f"not so within {seconds:g} s: {explain()}"
        time.sleep(0.2)
    return time.monotonic() - began


def _seconds(duration: str) -> float:
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smh])", duration))
