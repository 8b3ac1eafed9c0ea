"""What a cluster can be made of: priors, parameters and densities."""
