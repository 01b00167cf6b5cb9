"""Turn the tree of a rule into something that runs; ``closure`` is for one visit in memory."""
