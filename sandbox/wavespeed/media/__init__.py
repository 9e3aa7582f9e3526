"""Media: videos and uploads."""
