"""Routes of callbacks: endpoints and deliveries."""
