"""What runs inside both sandboxes: the jail, the supervisor, the warm parent, the executor of cells."""
