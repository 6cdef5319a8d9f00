"""What is kept: a result, the cache by content, nbgrader's gradebook, and which submission a score belongs to."""
