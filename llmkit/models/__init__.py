"""Chat models behind one name."""
