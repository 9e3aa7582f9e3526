"""How long renders take, and when to poll them by it."""
