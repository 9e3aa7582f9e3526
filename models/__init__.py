"""What is stored, and the only place that spells SQL."""
