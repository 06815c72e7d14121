"""What the ELB keeps: its tables, the file they are in, and the world in memory."""
