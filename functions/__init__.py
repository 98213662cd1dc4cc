"""What runs in Lambda: three stages over the steps they take and the parts they share."""
