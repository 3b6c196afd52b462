"""`make demo`: the loop on a real cluster, told step by step. Talks to the cluster through kubectl only, as its users do."""
