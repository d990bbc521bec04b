"""The desk: a small simulated service desk, its teacher, and the recipe of its base policy."""
