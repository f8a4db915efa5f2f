"""The audit log tells how a form was filled in, line for line as ODK Collect writes it."""

from __future__ import annotations

import pytest

from forms.audit import Location, Log, Tracking

START = 1_550_615_022_663


def test_an_interview_is_logged_as_the_documentation_of_collect_shows_it():
    log = Log(Tracking(location=True, changes=True), START)
    log.happened("form start", 0)
    log.happened("location tracking enabled", 8)
    log.shown("question", 19, {"/data/name": ""})
    log.location = Location(37.4229983, -122.084, 14.086999893188477)
    log.left(74_419, {"/data/name": "John"})
    log.shown("question", 74_419, {"/data/age": "20"})
    log.left(74_992, {"/data/age": "20"})
    log.shown("end screen", 86_968)
    log.left(86_990)
    log.happened("form save", 86_990)
    log.happened("form exit", 86_990)
    log.happened("form finalize", 86_990)
    assert log.csv() == (
        "event,node,start,end,latitude,longitude,accuracy,old-value,new-value\n"
        "form start,,1550615022663,,,,,,\n"
        "location tracking enabled,,1550615022671,,,,,,\n"
        "question,/data/name,1550615022682,1550615097082,"
        "37.4229983,-122.084,14.086999893188477,,John\n"
        "question,/data/age,1550615097082,1550615097655,"
        "37.4229983,-122.084,14.086999893188477,,\n"
        "end screen,,1550615109631,1550615109653,37.4229983,-122.084,14.086999893188477,,\n"
        "form save,,1550615109653,,37.4229983,-122.084,14.086999893188477,,\n"
        "form exit,,1550615109653,,37.4229983,-122.084,14.086999893188477,,\n"
        "form finalize,,1550615109653,,37.4229983,-122.084,14.086999893188477,,\n"
    )


def test_without_tracking_the_log_has_four_columns_and_no_answers():
    log = Log(Tracking(), START, user="amina", location=Location(1, 2, 3))
    log.shown("question", 0, {"/data/secret": "a"})
    log.left(5, {"/data/secret": "b"})
    assert log.csv() == (f"event,node,start,end\nquestion,/data/secret,{START},{START + 5}\n")


def test_a_screen_of_several_questions_is_one_line_unless_answers_are_tracked():
    screen = {"/data/g": "", "/data/g/a": "1", "/data/g/b": "2"}
    plain = Log(Tracking(), 0)
    plain.shown("group questions", 1, screen)
    plain.left(2, {"/data/g/a": "9"})
    assert [(each.event, each.node) for each in plain.events] == [("group questions", "/data/g")]
    tracked = Log(Tracking(changes=True), 0)
    tracked.shown("group questions", 1, screen)
    tracked.left(2, {"/data/g/a": "9", "/data/g/b": "2"})
    assert [(e.event, e.node, e.old_value, e.new_value) for e in tracked.events] == [
        ("question", "/data/g/a", "1", "9"),
        ("question", "/data/g/b", "", ""),
    ]


def test_values_are_quoted_only_where_a_comma_or_a_line_end_is_in_them():
    log = Log(Tracking(changes=True), 0)
    log.shown("question", 0, {"/data/a": 'say "hi"'})
    log.left(1, {"/data/a": 'say "hi", twice\nor more'})
    assert log.csv(heading=False) == (
        'question,/data/a,0,1,say "hi","say ""hi"", twice\nor more"\n'
    )


def test_repeats_reasons_and_users_are_logged_where_the_form_asks():
    tracking = Tracking.of({"identify-user": "true", "track-changes-reasons": "on-form-edit"})
    log = Log(tracking, 1000, user="amina")
    log.happened("form resume", 0)
    log.repeat("add repeat", "/data/member[2]", 10, 20)
    log.happened("change reason", 30, reason="a birth, last week")
    assert log.csv() == (
        "event,node,start,end,user,change-reason\n"
        "form resume,,1000,,amina,\n"
        "add repeat,/data/member[2],1010,1020,amina,\n"
        'change reason,,1030,,amina,"a birth, last week"\n'
    )


def test_the_attributes_of_the_audit_question_say_what_is_tracked():
    assert Tracking.of({}) == Tracking()
    assert Tracking.of({"location-priority": "balanced", "track-changes": "true"}) == Tracking(
        location=True, changes=True
    )
    assert Tracking.of({"track-changes": "false"}) == Tracking()


def test_a_screen_cannot_come_up_over_another_and_events_carry_what_they_must():
    log = Log(Tracking(), 0)
    log.shown("question", 0, {"/data/a": ""})
    with pytest.raises(ValueError, match="still on the screen"):
        log.shown("end screen", 1)
    log.left(1)
    with pytest.raises(ValueError, match="names a node"):
        log.shown("question", 2)
    with pytest.raises(ValueError, match="lasts"):
        log.happened("question", 3)
    with pytest.raises(KeyError):
        log.happened("coffee break", 3)
