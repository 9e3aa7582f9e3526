"""Watching renders: one poll, one sweep of a page, and the schedule that chooses between them."""
