"""Schemas of requests and responses. Their names, units and formats are the contract."""
