"""The stage that draws the pages of each class, and what they show."""
