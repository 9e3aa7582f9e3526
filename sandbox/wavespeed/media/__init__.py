"""Media: videos, pictures, uploads, and the folders that hold them."""
