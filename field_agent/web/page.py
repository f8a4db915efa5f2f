"""An interview as a page: its items in order, and after each act only those that changed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flask

from field_agent.register import asks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from field_agent.register import Interview
    from forms import Changed, State

RIGHT_TO_LEFT = frozenset({"ar", "fa", "he", "ur", "ps", "dv", "yi", "ckb", "ug", "sd"})
FEW = 12

WORDS = {
    "en": {
        "title": "Registrations",
        "begin": "New registration",
        "go_on": "Go on",
        "drafts": "Being filled in",
        "waiting": "Waiting to be sent",
        "nothing": "Nothing here.",
        "no_forms": "No form is here yet. Sync to fetch them.",
        "sync": "Sync now",
        "lock": "Lock",
        "finish": "Finish and seal",
        "leave": "Back to the list",
        "discard": "Erase this entry",
        "add": "Add",
        "remove": "Remove",
        "saved": "Saved",
        "saving": "Saving …",
        "unsaved": "Not saved yet: the page cannot reach the program. Trying again.",
        "faults": "answers need your attention",
        "required": "required",
        "choose": "Choose …",
        "place": "Use this device's position",
        "drop": "Remove the file",
        "has_file": "A file is attached.",
        "language": "Language",
        "news": "From the office",
        "read": "Read",
        "synced": "with receipt",
        "returned": "sent back",
        "returned_title": "Sent back by the office",
        "files": "files to send",
        "records": "Registry",
        "find": "Find by name",
        "search": "Search",
        "closed": "This device is locked. Start the pages with field-agent serve.",
        "back": "Back",
        "done": "All is synced.",
        "not_all": "Not all is synced yet.",
        "skip": "To the content",
        "sealed": "Sealed as number",
    },
    "fr": {
        "title": "Enregistrements",
        "begin": "Nouvel enregistrement",
        "go_on": "Continuer",
        "drafts": "En cours de saisie",
        "waiting": "À envoyer",
        "nothing": "Rien ici.",
        "no_forms": "Aucun formulaire ici. Synchronisez pour les recevoir.",
        "sync": "Synchroniser",
        "lock": "Verrouiller",
        "finish": "Terminer et sceller",
        "leave": "Retour à la liste",
        "discard": "Effacer cette saisie",
        "add": "Ajouter",
        "remove": "Retirer",
        "saved": "Enregistré",
        "saving": "Enregistrement …",
        "unsaved": "Pas encore enregistré : la page n'atteint pas le programme. Nouvel essai.",
        "faults": "réponses demandent votre attention",
        "required": "obligatoire",
        "choose": "Choisir …",
        "place": "Utiliser la position de cet appareil",
        "drop": "Retirer le fichier",
        "has_file": "Un fichier est joint.",
        "language": "Langue",
        "news": "Du bureau",
        "read": "Lu",
        "synced": "avec reçu",
        "returned": "renvoyés",
        "returned_title": "Renvoyés par le bureau",
        "files": "fichiers à envoyer",
        "records": "Registre",
        "find": "Chercher par nom",
        "search": "Chercher",
        "closed": "Cet appareil est verrouillé. Ouvrez les pages avec field-agent serve.",
        "back": "Retour",
        "done": "Tout est synchronisé.",
        "not_all": "Tout n'est pas encore synchronisé.",
        "skip": "Au contenu",
        "sealed": "Scellé sous le numéro",
    },
    "ar": {
        "title": "التسجيلات",
        "begin": "تسجيل جديد",
        "go_on": "متابعة",
        "drafts": "قيد التعبئة",
        "waiting": "بانتظار الإرسال",
        "nothing": "لا شيء هنا.",
        "no_forms": "لا توجد استمارة بعد. زامن لجلبها.",
        "sync": "مزامنة الآن",
        "lock": "قفل",
        "finish": "إنهاء وختم",
        "leave": "العودة إلى القائمة",
        "discard": "محو هذا الإدخال",
        "add": "إضافة",
        "remove": "إزالة",
        "saved": "حُفظ",
        "saving": "جارٍ الحفظ …",
        "unsaved": "لم يُحفظ بعد: الصفحة لا تصل إلى البرنامج. تجري المحاولة مجددًا.",
        "faults": "إجابات تحتاج إلى انتباهك",
        "required": "مطلوب",
        "choose": "اختر …",
        "place": "استخدم موقع هذا الجهاز",
        "drop": "إزالة الملف",
        "has_file": "أُرفق ملف.",
        "language": "اللغة",
        "news": "من المكتب",
        "read": "قُرئ",
        "synced": "مع إيصال",
        "returned": "معادة",
        "returned_title": "أعادها المكتب",
        "files": "ملفات للإرسال",
        "records": "السجل",
        "find": "البحث بالاسم",
        "search": "بحث",
        "closed": "هذا الجهاز مقفل. افتح الصفحات بالأمر field-agent serve.",
        "back": "رجوع",
        "done": "تمت مزامنة كل شيء.",
        "not_all": "لم تتم مزامنة كل شيء بعد.",
        "skip": "إلى المحتوى",
        "sealed": "خُتم برقم",
    },
}


def words_for(language: str) -> dict[str, str]:
    return WORDS.get(language, WORDS["en"])


def code_of(language: str) -> str:
    """`fr` of `Français (fr)`; "" where a form's language has no code."""
    inside = language.rpartition("(")[2].rstrip(")").strip().lower() if "(" in language else ""
    return inside or (language.lower() if len(language) in {2, 3} else "")


def direction(code: str) -> str:
    return "rtl" if code.partition("-")[0] in RIGHT_TO_LEFT else "ltr"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing on the page: a heading, a note, a question, or the button that adds an instance."""

    key: str
    state: State
    role: str
    """question, note, heading, instance or add."""
    widget: str = ""


class Page:
    """What one interview's page shows now, and what was last sent of it."""

    def __init__(self, interview: Interview) -> None:
        self.interview = interview
        self.show_faults = False
        self.opened = False
        self._touched: set[str] = set()
        self._sent: dict[str, str] = {}

    @property
    def code(self) -> str:
        return code_of(self.interview.entry.language) or "en"

    @property
    def dir(self) -> str:
        return direction(self.code)

    @property
    def words(self) -> dict[str, str]:
        return words_for(self.code)

    @staticmethod
    def key(ref: str) -> str:
        """An id for the page: references have slashes and brackets."""
        return "q" + hashlib.sha256(ref.encode()).hexdigest()[:12]

    def items(self) -> Iterator[Item]:
        waiting: list[State] = []
        for state in self.interview.entry.walk():
            while waiting and not state.ref.startswith(waiting[-1].ref + "["):
                yield self._add(waiting.pop())
            if state.kind == "repeat":
                if state.parameters.get("fixed") != "true":
                    waiting.append(state)
                continue
            if state.kind in {"group", "instance"}:
                role = "heading" if state.kind == "group" else "instance"
                if state.label or role == "instance":
                    yield Item(self.key(f"{state.ref} {role} {state.depth}"), state, role)
            elif asks(state):
                yield Item(self.key(state.ref), state, "question", _widget(state))
            elif state.label:
                yield Item(self.key(state.ref), state, "note")
        while waiting:
            yield self._add(waiting.pop())

    def _add(self, state: State) -> Item:
        return Item(self.key(state.ref + "+"), state, "add")

    def _html(self, item: Item) -> str:
        state = item.state
        fault = state.fault
        shown = fault is not None and (
            self.show_faults or (state.ref in self._touched and fault.kind != "required")
        )
        return flask.render_template(
            "item.html",
            item=item,
            state=state,
            fault=fault.reason if fault is not None and shown else "",
            words=words_for(self.code),
            chosen=set(state.chosen),
            few=FEW,
        )

    def fresh(self) -> list[str]:
        """Every item's HTML, for a page that opens."""
        self.opened = True
        made = {item.key: self._html(item) for item in self.items()}
        self._sent = {key: _mark(html) for key, html in made.items()}
        return list(made.values())

    def patch(self, changed: Changed | None) -> dict[str, Any]:
        """The order of all items, and the HTML of those that are new or read otherwise than before."""
        if changed is not None and changed.fault is not None:
            self._touched.add(changed.fault.ref)
        made = {item.key: self._html(item) for item in self.items()}
        marks = {key: _mark(html) for key, html in made.items()}
        fresh = {key: html for key, html in made.items() if self._sent.get(key) != marks[key]}
        self._sent = marks
        fault = changed.fault.reason if changed is not None and changed.fault is not None else ""
        return {"order": list(made), "html": fresh, "fault": fault}


def _mark(html: str) -> str:
    return hashlib.sha256(html.encode()).hexdigest()


def _widget(state: State) -> str:
    """Which control a question gets."""
    if state.kind == "select1":
        return "radios" if len(state.choices) <= FEW else "menu"
    if state.kind in {"select", "rank"}:
        return "boxes"
    if state.kind == "upload":
        return "file"
    if state.kind == "trigger":
        return "tick"
    by_type = {
        "int": "whole",
        "decimal": "decimal",
        "date": "date",
        "time": "time",
        "dateTime": "moment",
        "geopoint": "place",
    }
    if state.type in by_type:
        return by_type[state.type]
    return "lines" if "multiline" in state.appearance else "text"
