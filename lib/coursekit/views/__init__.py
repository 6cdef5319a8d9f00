"""What the checks of several exercises look at in the same way."""
