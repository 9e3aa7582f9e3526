"""Everything that renders on one machine: processes, servers, ports and the data folder. Imports nothing from cli."""
