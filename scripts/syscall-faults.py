"""Runs a program again and again, with one system call failing each time; see check-syscall-faults.sh.

    syscall-faults.py FOLDER small|full DRIVER...

SYSCALLS names those to be tried, where not all.

Without faults first, to see which calls there are: a site is a kind of system call, and its n-th call is the n-th that any one
thread makes of it (so counts strace). Prints a table and what failed; ends with 1 where anything did.
"""

import collections
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ERRORS = ["EINTR", "EAGAIN", "EIO", "ENOSPC", "EMFILE", "ENOMEM", "ENOBUFS", "ECONNRESET"]
TWO_ERRORS = {"EINTR", "ENOMEM"}

# What is left out, and why.
LEFT_OUT = {
    "futex sched_yield clock_nanosleep": "libc's locks and waits take no error of theirs for one",
    "brk mprotect munmap madvise": "libc's memory: it does not hand these errors on",
    "set_robust_list rseq set_tid_address arch_prctl execve exit exit_group getrandom prlimit64": "how libc starts and ends",
    "rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack sched_getaffinity prctl": "cannot fail as they are called",
    "alarm": "the program's own",
    "restart_syscall": "not a call of anybody's",
}
# What else these cannot fail with, and libc does not expect.
ONLY = {"mmap": ["ENOMEM"], "clone3": ["EAGAIN", "ENOMEM"]}

CALL = re.compile(r"^(\d+)\s+(\w+)\(")
SECONDS = 40


def command(folder, log, *options):
    return ["strace", "-f", "-q", "-o", log, *options, os.path.join(folder, "faulted")]


def run(folder, driver, log, *options, **environment):
    """Runs the program in a folder of its own; its exit code (None: it hung) and what it wrote."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        surroundings = {**os.environ, "SIDELOOP_DRIVER": driver, **environment}
        process = subprocess.Popen(command(folder, log, *options), cwd=place, env=surroundings, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            output, _ = process.communicate(timeout=SECONDS)
            return process.returncode, output.decode(errors="replace")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            output, _ = process.communicate()
            return None, output.decode(errors="replace")


def calls_made(folder, driver):
    """Which calls are made, as the most that any one thread makes of each; and how many the start of the program makes."""
    most, start = collections.Counter(), collections.Counter()
    for _ in range(3):
        log = os.path.join(folder, f"{driver}.calls")
        code, output = run(folder, driver, log)
        if code != 0:
            sys.exit(f"without any fault: {code}\n{output}")
        by_thread, first, begun = collections.defaultdict(collections.Counter), None, False
        with open(log, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                match = CALL.match(line)
                if not match:
                    continue
                thread, name = match.groups()
                first = first or thread
                begun = begun or name == "alarm"
                by_thread[thread][name] += 1
                if not begun:
                    start[name] = max(start[name], by_thread[thread][name])
        for counts in by_thread.values():
            for name, count in counts.items():
                most[name] = max(most[name], count)
    return most, start


def faults(most, start, small):
    """The faults to be tried: site, which call, error."""
    left_out = {name for names in LEFT_OUT for name in names.split()}
    for name in sorted(most):
        if name in left_out:
            continue
        numbers = range(start[name] + 1, most[name] + 1)
        if small:
            numbers = sorted({*numbers[:1], *numbers[-1:]})
        for number in numbers:
            for error in ONLY.get(name, ERRORS):
                if not small or error in TWO_ERRORS or name in ONLY:
                    yield name, number, error


def main():
    folder, size, drivers = sys.argv[1], sys.argv[2], sys.argv[3:]
    failed = 0
    for names, reason in LEFT_OUT.items():
        print(f"left out: {names}: {reason}")
    for driver in drivers:
        failed += campaign(folder, driver, size == "small")
    sys.exit(1 if failed else 0)


def campaign(folder, driver, small):
    begun = time.monotonic()
    most, start = calls_made(folder, driver)
    wanted = os.environ.get("SYSCALLS", "").split()
    planned = [fault for fault in faults(most, start, small) if not wanted or fault[0] in wanted]
    runs, hits, failures = collections.Counter(), collections.Counter(), []
    lock = threading.Lock()

    def attempt(fault):
        name, number, error = fault
        log = os.path.join(folder, f"{driver}-{name}-{number}-{error}.log")
        # A close that is made to fail closes nothing, in each thread that comes to its n-th.
        leaks = {"FAULTED_LEAKS": "8"} if name == "close" else {}
        code, output = run(folder, driver, log, "--seccomp-bpf", "-e", f"trace={name}",
                           "-e", f"inject={name}:error={error}:when={number}", **leaks)
        with open(log, encoding="utf-8", errors="replace") as lines:
            hit = any("(INJECTED)" in line for line in lines)
        with lock:
            runs[name] += 1
            hits[name] += hit
            if code != 0:
                failures.append((fault, code, output))
                print(f"{driver} {name} #{number} {error}: {'hangs' if code is None else code}: {output.strip()[-600:]}", flush=True)
            else:
                os.remove(log)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(attempt, planned))
    print(f"\n{driver}: {'site':20} {'calls':>6} {'runs':>6} {'hit':>6} {'failed':>6}")
    for name in sorted(runs):
        bad = sum(1 for fault, _, _ in failures if fault[0] == name)
        print(f"{driver}: {name:20} {most[name]:6} {runs[name]:6} {hits[name]:6} {bad:6}")
    print(f"{driver}: {len(runs)} sites, {sum(runs.values())} runs, {sum(hits.values())} of them with the fault, "
          f"{len(failures)} failed, {time.monotonic() - begun:.0f} s\n", flush=True)
    return len(failures)


if __name__ == "__main__":
    if not shutil.which("strace"):
        sys.exit("strace is not there")
    main()
