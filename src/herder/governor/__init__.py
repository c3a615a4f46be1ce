"""What holds remedies back: budgets, freezes, waves."""
