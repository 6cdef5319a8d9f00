"""The pictures of chapter 13: functions that return a figure with its description in ``fig.alt``."""
