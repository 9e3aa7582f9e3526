"""What happened, for those who follow it: the feed of events, its streams, and where it ends."""
