"""The AI services: they explain what the service knows, are never a source of a figure, and can place no order."""
