"""Changes of endpoints and deliveries."""
