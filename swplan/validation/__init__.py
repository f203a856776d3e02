"""Published measurements beside what the cost model predicts for the same runs."""
