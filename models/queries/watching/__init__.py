"""What the schedule, webhooks and learned render times read."""
