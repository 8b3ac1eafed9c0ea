"""What follows from draws: predictions, densities, allocations, scores, sensitivity."""
