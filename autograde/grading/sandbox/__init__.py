"""From the outside, the sandboxes in which submissions run: their tiers, warm parents, processes in pairs, outputs."""
