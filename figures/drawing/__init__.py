"""Drawing that several artefacts share."""
