"""What was handed in, and the chapter that it answers, as data: notebooks read, a plan, the two grafted together."""
