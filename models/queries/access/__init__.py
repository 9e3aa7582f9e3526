"""Reads of tenants, keys and the audit log."""
