"""Database connections, transactions, errors, and helpers that run statements."""
