"""Media: videos."""
