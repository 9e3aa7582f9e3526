"""How a file is stored, kept or given up; the output host; duplicate purchases."""
