"""The transitions of batches: filled, sealed, cancelled, ended, and going on after a retry."""
