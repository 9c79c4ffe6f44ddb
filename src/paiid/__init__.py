"""PaiiD backend: a self-hosted trading service in which a retry can never buy twice."""

__version__ = "0.1.0"
