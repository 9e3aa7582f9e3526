"""Bytes: videos, pictures, uploads, and where they are kept."""
