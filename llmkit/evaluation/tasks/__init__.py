"""Evaluation tasks: the questions, their data sets and the corpus that answers them."""
