"""What happens inside while a picture is drawn, shown: previews, figures, a page."""
