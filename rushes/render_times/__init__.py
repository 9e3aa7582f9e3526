"""How long renders take, and when to poll them based on that."""
