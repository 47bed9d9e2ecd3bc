"""Full-ranking evaluation: metrics, strata fixed beforehand, significance. SPEC.md 13."""
