"""Pure words and arithmetic of trading: no I/O, no clock, no framework."""
