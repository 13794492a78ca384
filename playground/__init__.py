"""Things to play with: a Slack workspace on your own machine, and a small estate to rotate in it."""
