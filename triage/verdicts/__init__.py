"""From answers to committed files: `validate` reads answers, `fan_out` gives every event its verdict, `commit`
writes a slice once."""
