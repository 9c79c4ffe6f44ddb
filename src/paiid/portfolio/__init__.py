"""What an account holds and what it is worth: positions, summary, account figures, and the roll of the day."""
