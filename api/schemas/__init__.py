"""What goes over the wire: names, units and formats are the contract."""
