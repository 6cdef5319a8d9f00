"""Is the grader itself right? Right, wrong and derived answers tried against every check."""
