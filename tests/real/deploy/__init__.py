"""The chart: rendered by Helm, applied to a control plane, and its service accounts tried out."""
