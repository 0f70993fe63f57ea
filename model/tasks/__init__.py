"""What a model is used for: a file each, with how it is asked, which rows it is asked of, and how it is measured."""
