"""The same attacks through independent libraries: what our own are tested and measured against, and a user's choice."""
