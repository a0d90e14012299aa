"""Structural position encoding (paper section 4.2): from region masks to `e_sam`."""
