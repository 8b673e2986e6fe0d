"""The verbs of the command line on run folders (plan, train, average, translate, score), and all systems of a scale."""
