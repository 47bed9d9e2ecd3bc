"""Full-ranking evaluation: metrics, strata fixed beforehand, significance."""
