"""One's own images, enlarged by a trained model: of any size, gray and alpha kept, turned upright."""
