"""Vector files and exact search over them."""
