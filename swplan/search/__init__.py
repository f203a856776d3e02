"""The search: which decisions there are, what they cost together, and the best of them with its proof."""
