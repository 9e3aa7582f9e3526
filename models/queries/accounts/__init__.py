"""An account with its money, and what makes it wait."""
