"""The tables of callbacks."""
