"""The shape of everything that crosses a boundary, and the one catalogue of problems.

Modules, each imported by name (this file imports none, so that commands start quickly):
`problems` (the catalogue), `frames` (JSON and parts in bounded, compressed bytes), `messages`
(enrolment and the round), `pages` (changes of the registry, as they are pulled), `signing` (the bytes
that are signed), `ticket` (enrolment codes), `bundle` (rounds on a memory stick), `envelope` (a sealed
submission, a backup), `words` (counts as both command lines write them).
"""
