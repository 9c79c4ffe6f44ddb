"""PaiiD backend."""
