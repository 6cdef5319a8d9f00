"""What checks of several exercises look at in the same way, and what labs use until an answer is written."""
