"""Connections, transactions, errors of the database, and how statements are run."""
