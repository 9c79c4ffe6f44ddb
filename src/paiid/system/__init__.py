"""The truth about the service's own health."""
