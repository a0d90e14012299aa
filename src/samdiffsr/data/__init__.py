"""Images: where they come from, how they are degraded, how they are stored. Knows no torch model."""
