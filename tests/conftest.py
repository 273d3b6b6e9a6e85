"""Fixtures for every room's tests."""

from tests.servers import postgresql_server, postgresql_url, redis_server, redis_url

__all__ = ["postgresql_server", "postgresql_url", "redis_server", "redis_url"]
