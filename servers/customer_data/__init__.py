"""The customer-data server: who the customers are, how to reach them, and what happened with them."""
