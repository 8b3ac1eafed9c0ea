"""Student-t features."""
