"""Doors: where events come in. Each calls the same engine with the same event."""
