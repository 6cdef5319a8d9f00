"""What is trained, one file a family: each module lists its own as ``RECIPES``, which ``train.registry`` finds."""
