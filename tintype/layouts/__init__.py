"""How the world names weights, and how its files are read safely. Knows no network and never opens the internet."""
