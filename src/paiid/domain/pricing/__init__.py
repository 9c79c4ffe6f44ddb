"""What options are worth: formulas in float, money stays outside."""
