"""Store rendered videos: outputs are copied at once, checked, and made visible in one step."""
