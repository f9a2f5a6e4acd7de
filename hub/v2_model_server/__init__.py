"""A model server for pickled scikit-learn models."""
