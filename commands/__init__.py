"""One file per word of `/rotate`; the file's name is the word."""
