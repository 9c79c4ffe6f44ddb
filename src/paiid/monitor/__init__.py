"""GitHub repository monitoring: a webhook that takes what GitHub signed, once, and the view of what it told."""
