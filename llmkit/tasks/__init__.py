"""Tasks from papers (acronyms, sentiment, concepts, IFEval). Nothing in the toolkit imports this package."""
