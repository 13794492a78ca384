"""One file (or folder) per system; the file's name is the word that runbooks use."""
