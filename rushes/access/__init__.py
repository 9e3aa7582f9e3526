"""Who calls the API, and what they may do: tenants, keys, scopes, and the log of what operators did."""
