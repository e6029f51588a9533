"""Documents in: loaders, splitters and the ledger of every character."""
