"""Statistics that only grow, and outlive the rows they were taken from."""
