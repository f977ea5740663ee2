"""Work on networks: training, attacking, corrupting, diagnosing, auditing and verifying them."""
