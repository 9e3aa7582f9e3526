"""Finding submissions whose answer was lost in the provider's list, also after a restore."""
