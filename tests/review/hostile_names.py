"""Names that would be markup if a page did not escape them."""

EVIL_LABEL = "<img src=x onerror=alert(1)>\"&'"
EVIL_CLASS = "<script>alert(2)</script>\"&'"
EVIL_FILE = "<svg onload=alert(3)>\"&'{}.png"
