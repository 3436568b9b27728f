"""What in this folder is no test."""

collect_ignore = ["kernels_inside.py"]  # it needs packages that only the image of sessions has
