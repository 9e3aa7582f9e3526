"""Sockets, the routing table, the gate that every request passes, and good and bad answers."""
