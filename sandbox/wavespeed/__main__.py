"""`python -m sandbox.wavespeed`."""

from sandbox.wavespeed.command import main

main()
