"""What is done about each kind of request: plans that yield tool calls and return an answer."""
