"""Schemas of callbacks: endpoints and deliveries."""
