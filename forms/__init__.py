"""XLSForms in; interviews asked, checked and finished out. Pure."""
