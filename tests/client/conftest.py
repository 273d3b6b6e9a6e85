from collections.abc import Iterator

import pytest

from harmonicdet import Client
from tests.client.described import Described


@pytest.fixture
def described() -> Described:
    return Described()


@pytest.fixture
def client(described: Described) -> Iterator[Client]:
    with Client("http://service", transport=described) as client:
        yield client
