"""Videos, pictures and control images: reading, writing and resizing them."""
