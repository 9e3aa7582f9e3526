"""An account with its money, and the reasons why it waits."""
