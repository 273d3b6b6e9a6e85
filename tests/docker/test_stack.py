"""The whole stack in containers. Opt-in: RUN_CONTAINER_TESTS=1, with docker, or podman and root."""

import os
from pathlib import Path

import pytest

from tests.docker.engine import CannotTest
from tests.docker.stack import run


@pytest.mark.containers
@pytest.mark.timeout(7200)
def test_the_stack_trains_survives_a_killed_worker_scales_and_stops() -> None:
    if os.environ.get("RUN_CONTAINER_TESTS") != "1":
        pytest.skip(
            "building and running the stack takes minutes and gigabytes; RUN_CONTAINER_TESTS=1 asks for it"
        )
    data = os.environ.get("DATA")
    try:
        run(Path(data) if data else None)
    except CannotTest as error:
        pytest.skip(str(error))
