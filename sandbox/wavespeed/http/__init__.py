"""Sockets, the table of addresses, what every request passes, and good and bad answers."""
