"""What people look at: `escape` before anything is shown, `progress` while a run goes on, `findings` and `summary`
of what it left, `machine` for the doctor."""
