"""The dispatcher: one leader among the workers that turns due rows into messages."""
