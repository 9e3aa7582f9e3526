"""Stand-ins for the outside world: the provider's simulator, embedded Postgres and Redis."""
