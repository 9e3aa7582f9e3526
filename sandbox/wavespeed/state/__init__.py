"""The state of the provider: tasks, slots, money, faults and random choices."""
