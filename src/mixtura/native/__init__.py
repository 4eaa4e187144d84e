"""The compiled library and what it computes: the same as the ring, faster, for rows on the CPU."""
