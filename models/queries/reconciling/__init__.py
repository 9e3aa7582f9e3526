"""The reads of a reconciliation run, also after a restore."""
