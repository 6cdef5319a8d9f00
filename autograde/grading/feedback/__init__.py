"""What a student reads afterwards: reasons, cleaned and coloured, on one page."""
