"""The dispatcher: one worker leads and turns due rows into messages."""
