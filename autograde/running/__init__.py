"""papermill over the solution notebooks, with a report of seconds, memory and metrics."""
