"""Grading at work: one submission through its sandboxes, and a class of them on threads or a cluster."""
