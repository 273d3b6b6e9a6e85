"""Where the environment names a database, a broker and blobs, tests get parts of those and nothing else."""

from pathlib import Path

import pytest

from store.settings import StoreSettings
from tests.backends import GIVEN


def test_a_test_gets_a_part_of_what_the_environment_names(tmp_path: Path) -> None:
    settings = StoreSettings(data=tmp_path)
    got = {
        "HARMONICDET_DATABASE_URL": settings.database_url,
        "HARMONICDET_BROKER_URL": settings.broker_url,
        "HARMONICDET_BLOBS": settings.blobs,
    }
    for name, value in got.items():
        if name in GIVEN:
            assert value.rpartition("/")[0].startswith(GIVEN[name].rpartition("/")[0])
            assert value != GIVEN[name]
        else:
            assert str(tmp_path) in value or value == "filesystem://"


@pytest.mark.embedded
def test_what_is_marked_embedded_is(tmp_path: Path) -> None:
    settings = StoreSettings(data=tmp_path)
    assert settings.database_url.startswith("sqlite")
    assert settings.broker_url == "filesystem://"
    assert settings.blobs == str(tmp_path / "blobs")
