"""Every function of ODK's XForms and of XPath 1.0, by subject."""

from forms.language.functions import choosing, nodes, numbers, places, texts, times
from forms.language.functions.table import FUNCTIONS, Function

__all__ = ["FUNCTIONS", "Function", "choosing", "nodes", "numbers", "places", "texts", "times"]
