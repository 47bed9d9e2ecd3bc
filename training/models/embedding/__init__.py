"""What models have in common whose score is an inner product of a user's and an item's vector: training and serving."""
