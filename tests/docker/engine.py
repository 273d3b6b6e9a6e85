"""A container engine to test with: Docker as it runs, or podman, set up for the time of a test.

podman needs root, runc, netavark, aardvark-dns, catatonit and iptables (Debian's packages of these names),
and the `docker` command to speak compose to it. Its images and settings are kept in a folder of their own, so
that the next test finds them. Where images cannot be pulled, stand-ins are made: see `standins/make.sh`.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
PROGRAMS = ("podman", "runc", "conmon", "iptables", "docker")
HELPERS = ("netavark", "aardvark-dns")
HEALTH_SECONDS = 3.0


class CannotTest(Exception):
    """Why there is no container engine to test with."""


class Engine:
    """Use as a context manager."""

    def __init__(self, work: Path, *, cgroup_parent: str | None = None) -> None:
        self._work = work
        self._cgroup_parent = cgroup_parent
        self._environment = dict(os.environ)
        self._service: subprocess.Popen[bytes] | None = None
        self._closing = threading.Event()
        self._health = threading.Thread(target=self._check_health, daemon=True)
        self.podman = not _answers(["docker", "info"], self._environment)

    def __enter__(self) -> Self:
        if not self.podman:
            if not _answers(["docker", "compose", "version"], self._environment):
                raise CannotTest("docker runs, but has no compose plugin")
            return self
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        missing += [name for name in HELPERS if not Path("/usr/lib/podman", name).exists()]
        if os.geteuid() != 0:
            raise CannotTest(
                "neither does docker run here, nor is this root, which podman's part of the test needs"
            )
        if missing:
            raise CannotTest(
                f"docker does not run here, and for podman these are missing: {', '.join(missing)}"
            )
        self._configure()
        if not _answers(["docker", "compose", "version"], self._environment):
            self._fetch_compose()
        self._serve()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        if self._service is not None:
            if self._health.is_alive():
                self._health.join()
            self._service.terminate()
            self._service.wait(30)

    def run(self, *command: str, timeout: float = 600, check: bool = True) -> str:
        """What a command that speaks to the engine prints. Raises `AssertionError` with its errors."""
        return self._run(command, Path.cwd(), timeout, check)

    def compose(self, folder: Path, *arguments: str, timeout: float = 600, check: bool = True) -> str:
        """What `docker compose` prints, in the folder of a compose file."""
        return self._run(("docker", "compose", *arguments), folder, timeout, check)

    def _run(self, command: Sequence[str], folder: Path, timeout: float, check: bool) -> str:
        done = subprocess.run(
            command,
            cwd=folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout}\n{done.stderr[-4000:]}"
        return done.stdout

    def has(self, image: str) -> bool:
        return _answers([self._program, "image", "inspect", image], self._environment)

    def build(self, folder: Path, dockerfile: str, tag: str, *options: str) -> float:
        """Builds an image; the seconds that it took."""
        own: list[str] = []
        if self.podman:  # its own format has no health check; layers of gigabytes are slow to keep
            own = ["--format", "docker", "--layers=false", "--pull=never", "--network", "host"]
            own += ["--cgroup-parent", self._cgroup_parent] if self._cgroup_parent else []
        begun = time.monotonic()
        command = (self._program, "build", *own, *options, "--file", dockerfile, "--tag", tag, ".")
        self._run(command, folder, 3600, True)
        return time.monotonic() - begun

    def image(self, name: str) -> dict[str, Any]:
        """What the engine tells of an image; `Size` is bytes, with all its layers."""
        told: list[dict[str, Any]] = json.loads(self.run(self._program, "image", "inspect", name))
        return told[0]

    def stand_in(self, python: str, redis: str, postgres: str, nginx: str) -> bool:
        """Makes what is missing of these images where none can be pulled; whether they are stand-ins."""
        if not self.podman:
            return False
        if not all(self.has(image) for image in (python, redis, postgres, nginx)):
            if shutil.which("mmdebstrap") is None:
                raise CannotTest("mmdebstrap, which makes stand-ins for the images, is missing")
            environment = self._environment | {"PYTHON312": _python312()}
            command = ["sh", str(HERE / "standins" / "make.sh"), python, redis, postgres, nginx]
            made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert made.returncode == 0, made.stderr[-4000:]
        return "standin" in (self.image(python)["Labels"] or {})

    @property
    def _program(self) -> str:
        return "podman" if self.podman else "docker"

    # podman, as docker's command and compose expect an engine to be

    def _configure(self) -> None:
        settings = self._work / "docker"
        (settings / "cli-plugins").mkdir(parents=True, exist_ok=True)
        (self._work / "containers.conf").write_text(
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
            '[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]\n'
            '[network]\nnetwork_backend = "netavark"\n'
        )
        (self._work / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self._work}/graph"\nrunroot = "{self._work}/run"\n'
        )
        if not (settings / "config.json").exists():
            (settings / "config.json").write_text("{}")
        self._environment |= {
            "CONTAINERS_CONF": str(self._work / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self._work / "storage.conf"),
            "DISABLE_HC_SYSTEMD": "true",
            "DOCKER_CONFIG": str(settings),
            "DOCKER_HOST": f"unix://{self._work}/podman.sock",
            "DOCKER_BUILDKIT": "0",
        }

    def _fetch_compose(self) -> None:
        """Debian 13's plugin needs nothing else of Debian 13, so it is unpacked, not installed."""
        script = HERE / "standins" / "fetch_compose.sh"
        fetched = subprocess.run(
            ["/bin/sh", str(script), str(self._work)], capture_output=True, text=True, check=False
        )
        if fetched.returncode or not _answers(["docker", "compose", "version"], self._environment):
            raise CannotTest(
                f"docker has no compose plugin, and Debian's cannot be had: {fetched.stderr[-500:]}"
            )

    def _serve(self) -> None:
        with (self._work / "service.log").open("ab") as log:
            self._service = subprocess.Popen(
                ["/usr/bin/podman", "system", "service", "--time=0", self._environment["DOCKER_HOST"]],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while not _answers(["docker", "version"], self._environment):
            if time.monotonic() > deadline or self._service.poll() is not None:
                raise CannotTest(
                    f"podman's service does not start: {(self._work / 'service.log').read_text()[-500:]}"
                )
            time.sleep(0.2)
        self._health.start()

    def _check_health(self) -> None:
        """Without systemd nobody else runs the containers' health checks."""
        while not self._closing.wait(HEALTH_SECONDS):
            with suppress(AssertionError, subprocess.TimeoutExpired):
                for name in self.run("podman", "ps", "--format", "{{.Names}}", timeout=60).split():
                    self.run("podman", "healthcheck", "run", name, timeout=60, check=False)


def _answers(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    try:
        return (
            subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False).returncode
            == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


def _python312() -> str:
    """A Python 3.12 that stands alone: not Debian's own, which is spread over /usr."""
    candidates = [os.environ.get("PYTHON312"), sys.executable, shutil.which("python3.12")]
    candidates += [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.12.*/bin/python3.12"))]
    code = "import sys; sys.exit(sys.version_info[:2] != (3, 12) or sys.base_prefix == '/usr')"
    for candidate in candidates:
        if candidate and _answers([candidate, "-c", code], os.environ):
            return candidate
    raise CannotTest("no Python 3.12 to make a stand-in of the base image from (PYTHON312=… names one)")
