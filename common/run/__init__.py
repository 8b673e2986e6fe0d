"""The verbs of the command line on run folders: plan, train, average, translate, score, and a whole scale of them."""
