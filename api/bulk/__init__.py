"""Jobs as lines of JSON: how their bodies are read, and examples."""
