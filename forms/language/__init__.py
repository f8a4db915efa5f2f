"""The expression language of ODK XForms: text in, closures over the instance tree out."""
