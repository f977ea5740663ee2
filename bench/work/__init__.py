"""What is done to networks: training, attacking, corrupting, diagnosing, auditing and verifying them."""
