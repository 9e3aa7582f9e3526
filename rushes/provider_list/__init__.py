"""Reading the provider's list of predictions: page by page, within a budget of requests."""
