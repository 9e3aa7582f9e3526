"""How long it will still take: one render by its age, jobs by playing the slots through. Pure: standard library only.

Ages, lengths and ends are seconds as floats, counted from now.
"""

from rushes.forecasting.lengths import TimeLeft, add_time_left, render_time_left, share_done
from rushes.forecasting.outlook import Outlook, Running, Waiting
from rushes.forecasting.playing import Forecast, forecast

__all__ = [
    "Forecast",
    "Outlook",
    "Running",
    "TimeLeft",
    "Waiting",
    "add_time_left",
    "forecast",
    "render_time_left",
    "share_done",
]
