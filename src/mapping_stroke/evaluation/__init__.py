"""How good a mask is: metrics, the sets of them that challenges use, tables of them, and the ranking of teams."""
