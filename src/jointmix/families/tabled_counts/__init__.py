"""A feature of spread counts by the counts that occur, as the kernel takes it."""
