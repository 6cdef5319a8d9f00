"""What runs with the instructor's rights. Submissions are data here: parsed, bounded, shown as text, never executed."""
