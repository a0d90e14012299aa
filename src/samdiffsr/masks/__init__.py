"""Region masks: segmenters behind one protocol, and the one stored form of what they find."""
