"""What the provider says of an accepted prediction, webhooks, the end of its retention, and learned times."""
