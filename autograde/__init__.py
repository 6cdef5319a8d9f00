"""The grader of the course: build, run, check and grade nbgrader assignments written by people one cannot trust."""
