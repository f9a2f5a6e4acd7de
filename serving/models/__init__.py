"""Model servers and the routers before them."""
