"""Storing the output of a completed prediction, and handling a download that gave no video."""
