"""Forecast the time left: of one render by its age, of jobs by simulating the slots. Pure: standard library only.

Ages, lengths and ends are seconds as floats, counted from now.
"""

from rushes.forecasting.inputs import ActiveGroup, Outlook, QueuedGroup
from rushes.forecasting.simulation import Forecast, forecast
from rushes.forecasting.time_left import TimeLeft, add_time_left, render_time_left, share_done

__all__ = [
    "ActiveGroup",
    "Forecast",
    "Outlook",
    "QueuedGroup",
    "TimeLeft",
    "add_time_left",
    "forecast",
    "render_time_left",
    "share_done",
]
