"""Making and judging models: train, fit the rule, evaluate, audit, pack, describe."""
