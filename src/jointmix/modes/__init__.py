"""Where the posterior may peak: EM from many starts, the census, and how chains begin."""
