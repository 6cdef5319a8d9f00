"""What runs beside the hidden tests: the line to the student's process and the stand-ins for the student's objects."""
