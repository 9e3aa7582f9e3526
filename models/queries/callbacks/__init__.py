"""Reads of endpoints and deliveries."""
