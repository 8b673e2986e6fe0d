"""A corpus made ready once: `preparation` orders the steps, `shards` does the work on each portion of the text."""
