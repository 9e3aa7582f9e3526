"""What Rushes tells its callers by itself: requests to URLs that they chose."""
