"""The page in the browser: the same runs as everywhere, watched over HTTP from this machine only."""
