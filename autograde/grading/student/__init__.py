"""What runs beside the student's code. Nothing here is believed: the judge only compares what comes back."""
