"""One file per revision; never edited after its release."""
