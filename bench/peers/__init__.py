"""How others do it: the contestants of the proof page, each a process of its own that is written as people write it."""
