"""Statistics of training runs that several artefacts share."""
