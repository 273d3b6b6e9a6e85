"""What several test modules of the detector share."""

from pathlib import Path

import pytest
import torch

from tests.detector.helpers import write_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A materialised dataset: 8 images to train on, 4 to measure on."""
    directory = tmp_path_factory.mktemp("dataset")
    write_dataset(directory)
    return directory


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """The tests share their cores with others; waiting threads would burn them."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _leave_torch_as_it_was() -> None:
    """A training chooses deterministic algorithms for its process; a test does not choose for the next."""
    torch.use_deterministic_algorithms(False)
