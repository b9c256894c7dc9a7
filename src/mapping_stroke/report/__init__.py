"""What people look at: pictures of scans and lesions, curves, the paper's table, and the page that holds them."""
