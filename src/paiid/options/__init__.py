"""Options: which contracts there are, and what they are quoted at."""
