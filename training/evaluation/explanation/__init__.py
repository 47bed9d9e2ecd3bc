"""How far explanations can be trusted: planted drivers recovered, amounts held against perturbation, roles checked."""
