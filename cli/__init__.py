"""People type here."""
