#!/usr/bin/env python3
"""Breaks each protocol that src/engine/models.rs models, one at a time and in a copy, and sees whether its model finds that.

Called by scripts/check-models.sh --broken, which sets cargo up. Ends with 1 where a model finds nothing, or where the code that it
would break is not there any more.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = Path(os.environ["CARGO_TARGET_DIR"]) / "broken"

# Events are posted first, and only then are their lanes free.
BUSY = """        self.engine.queue.post(&mut self.lines);
        self.deliveries += 1;
        self.engine.deliveries.store(self.deliveries, Ordering::Release);
        // Only now: whoever finds a lane free, and goes on in it at once, comes after the events of those before.
        for (resource, lane) in self.left.drain(..) {
            let Ok(id) = Id::from_bits(resource) else { continue };
            if let Ok(mut resource) = self.engine.resources.get(id.index, id.generation) {
                resource.busy[lane as usize] -= 1;
            }
        }
"""

# What is broken, the model that must find it, the file, what stands there, and what stands there instead.
BREAKS = [
    (
        "the loop falls asleep without a second look",
        "nothing_is_left_behind_when_the_loop_falls_asleep",
        "src/engine/core/rest.rs",
        "let timeout = if self.is_asked() { Some(Duration::ZERO) } else { timeout.map(Duration::from_nanos) };",
        "let timeout = timeout.map(Duration::from_nanos);",
    ),
    (
        "the loop looks first, and says afterwards that it falls asleep",
        "nothing_is_left_behind_when_the_loop_falls_asleep",
        "src/engine/core/rest.rs",
        "self.engine.waker.falls_asleep();\n        let timeout = if self.is_asked() "
        "{ Some(Duration::ZERO) } else { timeout.map(Duration::from_nanos) };",
        "let timeout = if self.is_asked() { Some(Duration::ZERO) } else { timeout.map(Duration::from_nanos) };\n"
        "        self.engine.waker.falls_asleep();",
    ),
    (
        "the loop takes `asked` down after it has emptied the inbox",
        "nothing_is_left_behind_when_the_loop_falls_asleep",
        "src/engine/core.rs",
        "        for command in commands.drain(..) {",
        "        self.engine.asked.swap(false, Ordering::AcqRel);\n        for command in commands.drain(..) {",
    ),
    (
        "the loop notifies of a last event without the shard's lock",
        "a_cancelled_operation_ends_once_for_the_one_that_waits_for_it",
        "src/engine/core/post.rs",
        "                drop(lock.lock());\n",
        "                let _ = lock;\n",
    ),
    (
        "a close leaves the id good until the loop comes to it",
        "a_file_is_closed_when_nobody_has_it_any_more",
        "src/engine/submit.rs",
        "                resource.retire();\n",
        "",
    ),
    (
        "the loop does not say that somebody waits for lent memory",
        "whoever_waits_for_lent_memory_has_what_is_given_back",
        "src/engine/core/rest.rs",
        "                self.engine.starved.store(true, Ordering::SeqCst);\n",
        "",
    ),
    (
        "the loop does not say that somebody waits for room",
        "whoever_pauses_for_room_goes_on_when_events_are_taken",
        "src/engine/core/rest.rs",
        "        engine.paused.store(true, Ordering::SeqCst);\n",
        "",
    ),
    (
        "the loop does not look once more for room after it has said that somebody waits",
        "whoever_pauses_for_room_goes_on_when_events_are_taken",
        "src/engine/core/rest.rs",
        "        full(engine.unclaimed.fetch_add(0, Ordering::SeqCst)) || tick_waits()",
        "        true",
    ),
    (
        "the loop frees a lane before it has posted its events",
        "what_is_carried_out_here_comes_behind_what_was_handed_over_before",
        "src/engine/core/post.rs",
        BUSY,
        BUSY.split("\n", 1)[1] + BUSY.split("\n", 1)[0] + "\n",
    ),
    (
        "whether anything is accepted is asked under another hold of the lock than the hand-over",
        "what_is_handed_over_while_the_loop_shuts_down_ends_once_or_is_refused",
        "src/engine/submit.rs",
        "        let mut inbox = self.inbox.lock();\n        inbox.check()?;\n",
        "        self.inbox.lock().check()?;\n        let mut inbox = self.inbox.lock();\n",
    ),
    (
        "a call goes through the gate without holding it until its events are posted",
        "what_is_carried_out_while_the_loop_shuts_down_ends_once_or_is_refused",
        "src/engine/submit.rs",
        "        self.attempts += 1;\n",
        "        self.gate = None;\n        self.attempts += 1;\n",
    ),
    (
        "an adoption lets go of the inbox before it has a place",
        "what_is_adopted_while_the_loop_shuts_down_is_closed_or_refused",
        "src/engine/mod.rs",
        "        let inbox = self.inbox.lock();\n        inbox.check()?;\n",
        "        let inbox = ();\n        self.inbox.lock().check()?;\n",
    ),
    (
        "a close recycles the places of events that somebody is just taking",
        "closing_lets_go_of_those_who_wait",
        "src/engine/mod.rs",
        "self.ops.clear(*index).is_some()",
        "self.ops.release(*index).is_some()",
    ),
    (
        "a post looks for sleepers before it has the lock",
        "whoever_sleeps_until_an_event_comes_is_woken",
        "src/engine/queue.rs",
        "        let mut state = self.state.lock();\n        let mut new = [0, 0];\n",
        "        let asleep = self.state.lock().sleepers;\n        let mut state = self.state.lock();\n"
        "        let before = std::mem::replace(&mut state.sleepers, asleep);\n        let mut new = [0, 0];\n"
        "        let _ = before;\n",
    ),
    (
        "the end is told before it is so",
        "the_end_wakes_everybody_who_sleeps",
        "src/engine/queue.rs",
        "        self.state.lock().finished = true;\n        self.end_looks();\n        self.finished.notify_all();\n"
        "        self.came.iter().for_each(Condvar::notify_all);\n",
        "        self.end_looks();\n        self.finished.notify_all();\n"
        "        self.came.iter().for_each(Condvar::notify_all);\n        self.state.lock().finished = true;\n",
    ),
    (
        "taking does not tell the wake descriptor",
        "the_wake_descriptor_is_readable_exactly_while_events_wait",
        "src/engine/queue.rs",
        "Ordering::Release);\n            state.tell();\n        }\n        Ok(count)",
        "Ordering::Release);\n        }\n        Ok(count)",
    ),
    (
        "a slot's generation stays when its value is taken",
        "an_id_never_names_what_came_into_its_slot_later",
        "src/table.rs",
        "        let value = entry.0.value.take();\n        entry.retire();\n",
        "        let value = entry.0.value.take();\n",
    ),
    (
        "a table lets go of its lock between looking for a free slot and taking it",
        "values_stay_apart_while_the_table_grows",
        "src/table.rs",
        "        free.live += 1;\n        free.indexes.pop_front()",
        "        let index = free.indexes.front().copied();\n        drop(free);\n"
        "        let mut free = self.free.lock();\n        free.live += 1;\n        free.indexes.pop_front();\n        index",
    ),
]


def main():
    shutil.rmtree(COPY, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    for name in filter(None, listed.stdout.decode().split("\0")):
        target = COPY / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    missed = 0
    for what, model, name, there, instead in BREAKS:
        path = COPY / name
        text = path.read_text(encoding="utf-8")
        if text.count(there) != 1:
            sys.exit(f"{name}: what is to be broken is not there once: {what}")
        path.write_text(text.replace(there, instead), encoding="utf-8")
        command = ["cargo", "test", "--quiet", "--lib", "--", model, "--nocapture"]
        run = subprocess.run(command, cwd=COPY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        path.write_text(text, encoding="utf-8")
        if "could not compile" in run.stdout:
            sys.exit(f"{name}: does not compile with this: {what}\n{run.stdout}")
        found = re.search(r"panicked at (?!.*loom).*\n(.*)", run.stdout) or re.search(r"panicked at .*\n(.*)", run.stdout)
        if run.returncode != 0:
            print(f"found:  {what}\n        {model}: {found[1][:120] if found else 'it ended with ' + str(run.returncode)}", flush=True)
        else:
            missed += 1
            print(f"MISSED: {what}\n        {model}", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
