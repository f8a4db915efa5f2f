"""The expression language of ODK XForms: text in, closures over the instance tree out."""

from forms.language.compiler import Compiled, compile_expression
from forms.language.core import Env, Scope, TooCostly
from forms.language.syntax import BadExpression, parse, written

__all__ = [
    "BadExpression",
    "Compiled",
    "Env",
    "Scope",
    "TooCostly",
    "compile_expression",
    "parse",
    "written",
]
