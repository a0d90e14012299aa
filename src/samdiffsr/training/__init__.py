"""Training as a visible loop, exact in its resume."""
