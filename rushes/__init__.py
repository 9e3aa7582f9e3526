"""What the product does: catalogue, policies, provider client, storing."""
