"""The skill: an invented convention that a base cannot know, a data set that teaches it, and its exact measure."""
