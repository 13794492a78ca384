"""Tests of the image without a container engine: it is linted, and its steps run as they stand in the Dockerfile."""
