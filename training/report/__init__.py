"""What a run did, for people: `report.html` and the model card."""
