"""What a reconciliation run reads, also after a restore."""
