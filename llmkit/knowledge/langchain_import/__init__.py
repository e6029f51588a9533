"""Import of a LangChain FAISS folder, without unpickling."""
