"""The stack of one machine: processes, servers, ports and the data folder. Imports nothing from cli."""
