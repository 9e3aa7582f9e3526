"""Fixtures for every test."""

from tests.servers import database_url, migrated_template, postgres, redis_server, redis_url, server_folder

__all__ = ["database_url", "migrated_template", "postgres", "redis_server", "redis_url", "server_folder"]
