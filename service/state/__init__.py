"""What outlives a request: answers for a while, events and live items for good."""
