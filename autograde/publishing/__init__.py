"""Editions of the course for others: the students' folder without solutions."""
