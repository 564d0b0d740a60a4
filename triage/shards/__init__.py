"""From paths to events: `plan` finds shards and cuts them, `read` yields slices, `normalise` maps fields."""
