"""Fixtures for every test."""

from hypothesis import settings

from tests.servers import database_url, migrated_template, postgres, redis_server, redis_url, server_folder

# Machines are shared and slow by turns: how long an example takes says nothing about it.
settings.register_profile("rushes", deadline=None)
settings.load_profile("rushes")

__all__ = ["database_url", "migrated_template", "postgres", "redis_server", "redis_url", "server_folder"]
