"""Searches the provider's list for submissions with a lost answer, also after a restore."""
