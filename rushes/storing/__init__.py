"""Storing the output of a completed prediction, and what follows a download that gave no video."""
