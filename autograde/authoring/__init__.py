"""From solutions/ to notebooks: reading a chapter, judging its form, building what students and nbgrader get."""
