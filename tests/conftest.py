"""Fixtures for every room's tests."""

from detector.threads import wait_without_spinning
from tests.servers import postgresql_server, postgresql_url, redis_server, redis_url

__all__ = ["postgresql_server", "postgresql_url", "redis_server", "redis_url"]

# Before any test module imports torch.
wait_without_spinning()
