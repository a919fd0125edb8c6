"""Store conformance: the lead, what a pulse reads, the inbox, and first sight."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from celery_legion.run import State
from celery_legion.stores.base import Granted, Pause, Request, Sight, Store
from celery_legion.testing.conformance_case import (
    BASE,
    BEAT,
    INFO,
    LONG,
    OTHER,
    Advancing,
    Case,
    fire,
    grant,
    know,
    lead,
    minute,
    skip,
)


class LeadConformance(Case):
    """``pulse``, ``resign``, ``schedulers``."""

    def test_each_scheduler_is_told_the_number_of_its_pulse_before(self, store: Store) -> None:
        first = store.pulse(BEAT, LONG, 0, 10, INFO, None, 1)
        assert first.last is None
        assert store.pulse(OTHER, LONG, 0, 10, INFO, None, 7).last is None
        assert store.pulse(BEAT, LONG, 0, 10, INFO, None, 2).last == 1
        know(store)
        store.claim([fire(1)], BEAT, first.epoch, LONG)
        assert store.pulse(BEAT, LONG, 0, 10, INFO, None, 4).last == 2
        assert store.pulse(OTHER, LONG, 0, 10, INFO, None, 8).last == 7
        assert store.resign(BEAT)
        assert store.pulse(BEAT, LONG, 0, 10, INFO, None, 5).last is None

    def test_the_first_to_pulse_leads(self, store: Store) -> None:
        answer = lead(store)
        assert answer.epoch is not None
        assert answer.epoch > 0
        assert (answer.lead.owner, answer.lead.epoch, answer.lead.info) == (BEAT, answer.epoch, INFO)
        assert timedelta(0) < answer.lead.expires_in <= LONG

    def test_leader_and_standby_are_told_the_stores_time(self, store: Store, clock: Advancing) -> None:
        for owner in (BEAT, OTHER):
            # A pulse may be told in milliseconds.
            before = store.now() - timedelta(milliseconds=1)
            at = lead(store, owner).at
            assert before <= at <= store.now()
            clock.advance(self.tick)

    def test_a_standby_gets_no_epoch_and_sees_the_leader(self, store: Store) -> None:
        epoch = lead(store).epoch
        answer = store.pulse(OTHER, LONG, 0, 10, replace(INFO, app="other", host="beta", pid=2))
        assert answer.epoch is None
        assert (answer.lead.owner, answer.lead.epoch, answer.lead.info) == (BEAT, epoch, INFO)

    def test_a_take_over_after_expiry_counts_the_epoch_up_by_one(self, store: Store, clock: Advancing) -> None:
        first = lead(store, ttl=self.tick).epoch
        clock.advance(2 * self.tick)
        second = lead(store, OTHER)
        assert first is not None
        assert second.epoch == first + 1
        assert second.lead.owner == OTHER
        assert lead(store).epoch is None

    def test_an_old_leader_that_takes_over_again_has_a_new_epoch(self, store: Store, clock: Advancing) -> None:
        first = lead(store, ttl=self.tick).epoch
        clock.advance(2 * self.tick)
        assert first is not None
        assert lead(store).epoch == first + 1

    def test_a_renewal_keeps_lead_and_epoch(self, store: Store, clock: Advancing) -> None:
        first = lead(store, ttl=3 * self.tick).epoch
        assert lead(store).epoch == first
        clock.advance(4 * self.tick)
        assert lead(store, OTHER).epoch is None
        assert lead(store).epoch == first

    def test_a_renewal_says_anew_what_the_leader_is(self, store: Store) -> None:
        lead(store)
        changed = replace(INFO, fingerprint="print-2")
        assert store.pulse(BEAT, LONG, 0, 10, changed).lead.info == changed
        assert lead(store, OTHER).lead.info == changed

    def test_a_scheduler_says_whether_its_runs_are_guarded(self, store: Store) -> None:
        bare = replace(INFO, guarded=False)
        assert store.pulse(BEAT, LONG, 0, 10, bare).lead.info == bare
        assert lead(store, OTHER).lead.info == bare
        assert [found.info.guarded for found in store.schedulers()] == [False, True]
        assert lead(store).lead.info.guarded is True

    def test_a_leader_says_up_to_when_all_is_claimed(self, store: Store) -> None:
        assert lead(store).lead.done is None
        store.pulse(BEAT, LONG, 0, 10, INFO, minute(1))
        assert lead(store, OTHER).lead.done == minute(1)
        # What is not said anew stands; what a standby says counts for nothing.
        assert lead(store).lead.done == minute(1)
        assert store.pulse(OTHER, LONG, 0, 10, INFO, minute(2)).lead.done == minute(1)
        assert store.pulse(BEAT, LONG, 0, 10, INFO, minute(3)).lead.done == minute(3)
        store.resign(BEAT)
        # It speaks of an earlier lead.
        assert store.pulse(OTHER, LONG, 0, 10, INFO, minute(4)).lead.done is None

    def test_a_resigned_lead_is_free_at_once(self, store: Store) -> None:
        first = lead(store).epoch
        assert store.resign(BEAT) is True
        assert first is not None
        assert lead(store, OTHER).epoch == first + 1

    def test_who_does_not_lead_cannot_resign(self, store: Store, clock: Advancing) -> None:
        assert store.resign(BEAT) is False
        lead(store, ttl=LONG)
        lead(store, OTHER)
        assert store.resign(OTHER) is False
        assert lead(store).epoch is not None
        assert store.resign(BEAT) is True
        assert store.resign(BEAT) is False

    def test_who_lost_the_lead_cannot_resign(self, store: Store, clock: Advancing) -> None:
        lead(store, ttl=self.tick)
        clock.advance(2 * self.tick)
        assert store.resign(BEAT) is False

    def test_schedulers_are_shown_leader_first_and_standbys_with_epoch_zero(self, store: Store) -> None:
        epoch = lead(store, "zeta").epoch
        lead(store, "alpha")
        lead(store, "beta")
        shown = store.schedulers()
        assert [(entry.owner, entry.epoch) for entry in shown] == [("zeta", epoch), ("alpha", 0), ("beta", 0)]
        assert all(entry.info == INFO and timedelta(0) < entry.expires_in <= LONG for entry in shown)

    def test_schedulers_that_resigned_or_expired_are_not_shown(self, store: Store, clock: Advancing) -> None:
        lead(store)
        lead(store, OTHER, ttl=self.tick)
        lead(store, "beat-3")
        store.resign(BEAT)
        clock.advance(2 * self.tick)
        assert [entry.owner for entry in store.schedulers()] == ["beat-3"]

    def test_a_leader_whose_lead_a_claim_extended_is_shown(self, store: Store, clock: Advancing) -> None:
        know(store)
        epoch = lead(store, ttl=3 * self.tick).epoch
        store.claim([fire()], BEAT, epoch, LONG)
        clock.advance(4 * self.tick)
        assert [(entry.owner, entry.epoch) for entry in store.schedulers()] == [(BEAT, epoch)]

    def test_a_leader_whose_lead_ended_with_its_claims_lease_is_not_shown(self, store: Store, clock: Advancing) -> None:
        know(store)
        epoch = lead(store).epoch
        store.claim([fire()], BEAT, epoch, self.tick)
        clock.advance(2 * self.tick)
        assert store.schedulers() == []


class ChangesConformance(Case):
    """``pulse``'s changes and versions; ``put``, ``drop``, ``definitions``, ``pause``, ``resume``, ``pauses``."""

    def test_a_new_store_has_no_changes(self, store: Store) -> None:
        answer = lead(store)
        assert (answer.changes, answer.requests) == ((), ())
        assert lead(store, since=answer.version).version == answer.version

    def test_every_change_names_its_job_once_and_raises_the_version(self, store: Store) -> None:
        start = lead(store).version
        first = store.put("a", "{}")
        second = store.put("b", "{}")
        third = store.put("a", '{"x":1}')
        assert start < first < second < third
        answer = lead(store, since=start)
        assert sorted(answer.changes) == ["a", "b"]
        assert answer.version == third

    def test_only_changes_after_since_are_read(self, store: Store) -> None:
        store.put("a", "{}")
        since = lead(store).version
        assert lead(store, since=since).changes == ()
        store.put("b", "{}")
        assert lead(store, since=since).changes == ("b",)

    def test_a_standby_reads_changes_and_no_requests(self, store: Store) -> None:
        lead(store)
        store.put("a", "{}")
        store.push(Request(id="p1", body='{"id":"p1"}'))
        answer = lead(store, OTHER)
        assert (answer.changes, answer.requests) == (("a",), ())

    def test_drop_pause_and_resume_are_changes_too(self, store: Store) -> None:
        since = store.put("a", "{}")
        assert store.drop("a") is True
        assert lead(store, since=since).changes == ("a",)
        since = lead(store).version
        assert store.pause(Pause(name="*", since=BASE)) > since
        assert lead(store, since=since).changes == ("*",)
        since = lead(store).version
        assert store.resume("*") is True
        assert lead(store, since=since).changes == ("*",)

    def test_what_is_not_there_can_neither_be_dropped_nor_resumed_and_is_no_change(self, store: Store) -> None:
        since = store.put("a", "{}")
        assert store.drop("b") is False
        assert store.resume("b") is False
        answer = lead(store, since=since)
        assert (answer.changes, answer.version) == ((), since)

    def test_definitions_are_what_was_put_last_and_not_dropped(self, store: Store) -> None:
        assert store.definitions() == {}
        store.put("a", "{}")
        store.put("ü", '{"note":"ß"}')
        store.put("a", '{"x":1}')
        assert store.definitions() == {"a": '{"x":1}', "ü": '{"note":"ß"}'}
        store.drop("a")
        assert store.definitions() == {"ü": '{"note":"ß"}'}

    def test_a_pause_is_in_force_until_it_is_resumed(self, store: Store) -> None:
        pause = Pause(name="job", since=BASE, note="holiday: ß")
        store.pause(pause)
        assert store.pauses() == {"job": pause}
        assert store.resume("job") is True
        assert store.pauses() == {}
        assert store.resume("job") is False

    def test_a_pause_is_over_at_its_until_by_the_stores_clock(self, store: Store, clock: Advancing) -> None:
        now = store.now()
        later = Pause(name="later", since=now, until=now + LONG)
        store.pause(Pause(name="soon", since=now, until=now + self.tick))
        store.pause(later)
        clock.advance(2 * self.tick)
        assert store.pauses() == {"later": later}
        assert store.resume("soon") is False
        assert store.resume("later") is True

    def test_pausing_again_replaces_the_pause(self, store: Store) -> None:
        store.pause(Pause(name="job", since=BASE, note="one"))
        store.pause(Pause(name="job", since=minute(1), note="two"))
        assert store.pauses() == {"job": Pause(name="job", since=minute(1), note="two")}


class InboxConformance(Case):
    """``push``, ``ack``, and how a pulse reads the inbox."""

    def test_requests_are_read_oldest_first_and_at_most_limit(self, store: Store) -> None:
        for number in range(4):
            store.push(Request(id=f"p{number}", body=f'{{"id":"p{number}"}}'))
        assert [request.id for request in lead(store, limit=3).requests] == ["p0", "p1", "p2"]
        assert lead(store, limit=0).requests == ()

    def test_requests_stay_until_they_are_acknowledged(self, store: Store) -> None:
        store.push(Request(id="p1", body='{"id":"p1"}'))
        store.push(Request(id="p2", body='{"id":"p2"}'))
        assert len(lead(store).requests) == 2
        assert len(lead(store).requests) == 2
        store.ack(["p1"])
        assert lead(store).requests == (Request(id="p2", body='{"id":"p2"}'),)

    @pytest.mark.parametrize("body", ['{"id":"p1","args":["ß"]}', '{"id":"other"}', '{"args":[]}', "free text", "ü 1"])
    def test_a_request_is_read_and_acknowledged_as_it_was_pushed(self, store: Store, body: str) -> None:
        store.push(Request(id="p1", body=body))
        assert lead(store).requests == (Request(id="p1", body=body),)
        store.ack(["p1"])
        assert lead(store).requests == ()

    def test_the_next_leader_reads_what_the_last_did_not_acknowledge(self, store: Store) -> None:
        lead(store)
        store.push(Request(id="p1", body='{"id":"p1"}'))
        store.resign(BEAT)
        assert [request.id for request in lead(store, OTHER).requests] == ["p1"]

    def test_the_same_id_twice_is_gone_when_all_that_was_read_is_acknowledged(self, store: Store) -> None:
        store.push(Request(id="p1", body='{"id":"p1"}'))
        store.push(Request(id="p1", body='{"id":"p1"}'))
        assert {request.id for request in lead(store).requests} == {"p1"}
        store.ack([request.id for request in lead(store).requests])
        assert lead(store).requests == ()

    def test_unknown_ids_are_passed_over(self, store: Store) -> None:
        store.ack([])
        store.ack(["nobody"])
        store.push(Request(id="p1", body='{"id":"p1"}'))
        lead(store)
        store.ack(["nobody", "p1", "p1"])
        assert lead(store).requests == ()


class SightConformance(Case):
    """``sight``."""

    def test_a_new_job_gets_the_mark_as_mark_and_anchor(self, store: Store) -> None:
        found = store.sight({"a": "1", "b": "2"}, minute(5))
        assert found == {name: Sight(mark=minute(5), anchor=minute(5)) for name in ("a", "b")}
        state = store.states(["a"])["a"]
        assert (state.mark, state.anchor) == (minute(5), minute(5))

    def test_nothing_to_look_up_is_nothing(self, store: Store) -> None:
        assert store.sight({}, BASE) == {}

    def test_a_known_job_keeps_both(self, store: Store) -> None:
        store.sight({"job": "1"}, minute(1))
        assert store.sight({"job": "1"}, minute(9)) == {"job": Sight(mark=minute(1), anchor=minute(1))}

    def test_a_known_job_shows_the_mark_that_claims_moved(self, store: Store) -> None:
        know(store)
        grant(store, fire(1))
        assert store.sight({"job": "print"}, minute(9)) == {"job": Sight(mark=minute(1), anchor=BASE)}

    def test_a_note_of_a_claim_is_kept_while_its_mark_stands(self, store: Store) -> None:
        know(store)
        grant(store, replace(fire(1), note="again|at 9"))
        assert store.sight({"job": "print"}, minute(9))["job"].note == "again|at 9"
        grant(store, fire(2))
        assert store.sight({"job": "print"}, minute(9))["job"].note == ""

    def test_a_note_is_gone_with_a_mark_that_is_moved_otherwise(self, store: Store) -> None:
        know(store)
        grant(store, replace(fire(1), note="a"))
        store.remind({"job": minute(2)})
        assert store.sight({"job": "print"}, minute(9))["job"].note == ""
        grant(store, replace(fire(3), note="b"))
        assert store.sight({"job": "changed"}, minute(9))["job"].note == ""

    def test_a_changed_trigger_keeps_the_anchor_and_moves_the_mark_up(self, store: Store) -> None:
        store.sight({"job": "1"}, minute(1))
        assert store.sight({"job": "2"}, minute(9)) == {"job": Sight(mark=minute(9), anchor=minute(1))}
        assert store.sight({"job": "2"}, minute(20)) == {"job": Sight(mark=minute(9), anchor=minute(1))}

    def test_a_changed_trigger_never_moves_the_mark_back(self, store: Store) -> None:
        store.sight({"job": "1"}, minute(9))
        assert store.sight({"job": "2"}, minute(1)) == {"job": Sight(mark=minute(9), anchor=minute(9))}
        assert store.sight({"job": "2"}, minute(20))["job"].mark == minute(9)

    def test_a_fire_from_before_the_change_is_stale(self, store: Store) -> None:
        know(store)
        store.sight({"job": "changed"}, minute(9))
        assert grant(store, fire(1)) == [Granted.STALE]

    def test_a_mark_that_the_change_moved_is_nobodys_claim(self, store: Store) -> None:
        know(store)
        store.claim([replace(fire(1), run_id=None, lapses=(skip(1, "catch_up"),))], BEAT, None, LONG)
        store.sight({"job": "changed"}, minute(2))
        missed = replace(fire(2), mark=BASE)
        assert grant(store, missed) == [Granted.STALE]
        latest = store.states(["job"])["job"].latest
        assert latest is not None
        assert (latest.state, latest.count) == (State.SKIPPED, 1)

    def test_a_store_is_reminded_of_marks_it_has_lost_and_moves_none_back(self, store: Store) -> None:
        store.sight({"ahead": "1", "behind": "1"}, minute(5))
        assert sorted(store.remind({"ahead": minute(1), "behind": minute(7), "lost": minute(3)})) == ["behind", "lost"]
        marks = {name: state.mark for name, state in store.states(["ahead", "behind", "lost"]).items()}
        assert marks == {"ahead": minute(5), "behind": minute(7), "lost": minute(3)}
        assert store.remind({"behind": minute(7)}) == []

    def test_a_fire_from_before_what_the_store_was_reminded_of_is_stale(self, store: Store) -> None:
        know(store)
        store.remind({"job": minute(4)})
        assert grant(store, fire(1)) == [Granted.STALE]
        assert grant(store, replace(fire(5), mark=minute(4))) == [Granted.RUN]
