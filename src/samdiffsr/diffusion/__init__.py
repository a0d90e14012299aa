"""The diffusion process, plain and structure-modulated. Knows tensors, and no file."""
