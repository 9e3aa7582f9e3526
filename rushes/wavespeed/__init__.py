"""The provider: its REST API, the meaning of its answers, its failures and its webhooks."""
