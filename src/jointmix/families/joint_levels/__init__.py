"""Several features of levels at once, as the kernel takes them."""
