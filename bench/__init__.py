"""What is measured: `make bench`, or `python -m bench --help`."""
