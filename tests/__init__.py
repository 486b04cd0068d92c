"""What holds the service to its promises. Nothing imports it, and no package ships it."""
