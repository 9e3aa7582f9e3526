"""Store, keep or give up a file; outages of the output host."""
