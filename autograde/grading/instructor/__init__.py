"""The instructor's verbs over all of it: sessions at a terminal, reports, nbgrader's hooks, attacks on ourselves."""
