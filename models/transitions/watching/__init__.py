"""The provider's outcomes of accepted predictions, webhooks, the end of its retention, and learned render times."""
