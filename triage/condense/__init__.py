"""Many events, one question: `mask` hides what cannot change a verdict, `template` groups what is left."""
