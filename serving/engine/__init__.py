"""Compiling graphs and running events through them."""
