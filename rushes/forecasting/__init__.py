"""Forecast the time left: of one render by its age, of jobs by simulating the slots. Pure: standard library only.

Ages, lengths and ends are seconds as floats, counted from now.
"""
