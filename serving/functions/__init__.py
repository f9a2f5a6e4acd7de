"""Functions: making, describing and loading them."""
