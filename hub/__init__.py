"""Ready functions, by the names that ``import_function("hub://…")`` takes."""
