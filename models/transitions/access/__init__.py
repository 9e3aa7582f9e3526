"""Changes of tenants and keys, the answered requests, and the audit log."""
