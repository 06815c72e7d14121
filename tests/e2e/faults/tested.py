"""Faults of files and programs, and hostile input: each is a test elsewhere, which `make faults` runs.

Each fault has the sentence that must hold during it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[3]


class Tested(NamedTuple):
    """A fault, what must hold, and its tests as ``file::function``, relative to ``tests``."""

    fault: str
    holds: str
    tests: tuple[str, ...]


TESTED: Final = (
    Tested(
        "full disk, and then a program of `up` dies",
        "it is restarted and answers, and the same Envoy serves on",
        ("up/test_full_disk.py::test_a_program_that_dies_on_a_full_disk_comes_back_and_traffic_goes_on",),
    ),
    Tested(
        "full disk under a store",
        "a write gets an error and no write is lost; writes go on when there is room",
        (
            "elb/server/store/test_full_disk.py::test_a_full_disk_is_an_error_and_writes_resume_when_there_is_room",
            "kube/apiserver/test_durability.py::test_a_full_disk_fails_the_write_and_loses_nothing",
        ),
    ),
    Tested(
        "`elb.db` or `kube/store.db` deleted or emptied",
        "the program does not start as a new system and names the way out; Envoy serves on",
        ("up/test_shutdown.py::test_a_lost_store_is_refused_and_envoy_serves_on",),
    ),
    Tested(
        "damaged or missing file in the state directory",
        "one line names the file and the way out",
        (
            "cli/test_cli.py::test_a_damaged_state_directory_is_reported_in_one_line",
            "kube/apiserver/test_durability.py::test_damaged_tokens_are_one_sentence_with_the_way_out",
            "runtime/test_private_ca.py::test_a_missing_or_damaged_key_is_an_error_that_names_the_file_and_the_way_out",
            "runtime/test_private_ca.py::test_a_damaged_certificate_is_an_error_with_the_way_out",
        ),
    ),
    Tested(
        "Kubernetes API, ELB, controller or Envoy killed (SIGKILL)",
        "traffic goes on, and a change made meanwhile is applied; a killed Envoy serves the same certificates again",
        (
            "e2e/operation/test_kills.py::test_traffic_continues_while_a_control_plane_program_is_dead",
            "e2e/operation/test_kills.py::test_a_change_made_while_a_program_is_dead_is_applied_later",
            "e2e/operation/test_kills.py::test_envoy_is_restarted_and_serves_the_same_certificates",
        ),
    ),
    Tested(
        "all programs killed (SIGKILL)",
        "the same command serves again",
        ("e2e/operation/test_kills.py::test_after_a_kill_of_everything_the_same_command_serves_again",),
    ),
    Tested(
        "Envoy killed again and again after it has served",
        "the restart delay starts over each time",
        ("elb/server/dataplane/test_envoy.py::test_the_restart_delay_starts_over_once_envoy_has_served",),
    ),
    Tested(
        "SIGTERM, SIGINT or a closed terminal, also during the start and with programs that hang",
        "all programs and Envoy end",
        (
            "e2e/operation/test_start_stop.py::test_sigterm_ends_all_programs",
            "up/test_shutdown.py::test_a_stop_during_start_ends_all_programs",
            "up/test_shutdown.py::test_a_second_ctrl_c_kills_hanging_programs",
            "up/test_shutdown.py::test_envoy_ends_with_an_elb_that_has_to_be_killed",
        ),
    ),
    Tested(
        "hostile bodies: deep, with aliases, that double, with long numbers",
        "4xx, and nothing is changed",
        (
            "kube/apiserver/test_hostile_bodies.py::test_a_hostile_body_is_rejected_and_changes_nothing",
            "elb/server/api/test_robustness.py::test_malformed_bodies_are_rejected",
            "elb/server/api/test_robustness.py::test_an_oversized_body_is_rejected",
        ),
    ),
    Tested(
        "requests that stop half-way, endless headers",
        "the connection is closed in time, without a traceback",
        (
            "runtime/test_half_requests.py::test_a_request_that_stops_half_way_is_ended_without_a_traceback",
            "runtime/test_half_requests.py::test_an_endless_header_is_cut_off",
        ),
    ),
    Tested(
        "more idle connections than Envoy may have open files",
        "Envoy does not end",
        ("elb/server/dataplane/test_envoy.py::test_more_idle_connections_than_files_do_not_end_envoy",),
    ),
    Tested(
        "wrong logins of invented users, 1 MB user names, many logins at a time",
        "the admin logs in, memory and hashing are bounded",
        (
            "elb/server/identity/test_auth.py::test_wrong_logins_of_invented_users_do_not_lock_the_admin_out",
            "elb/server/identity/test_auth.py::test_a_login_is_bounded_before_it_is_read",
            "elb/server/identity/test_auth.py::test_many_logins_at_a_time_hash_few_passwords_at_a_time",
            "console/test_login.py::test_wrong_logins_of_invented_users_do_not_lock_the_admin_out",
            "console/test_login.py::test_a_login_form_is_bounded_before_it_is_read",
        ),
    ),
)


def run_tests() -> dict[str, bool]:
    """Return for each test of ``TESTED`` if it passed, with all its parameters."""
    names = [name for row in TESTED for name in row.tests]
    with tempfile.TemporaryDirectory(prefix="cf-") as place:
        report = Path(place, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", f"--junitxml={report}"]
        subprocess.run([*command, *(f"tests/{name}" for name in names)], cwd=ROOT, check=False)
        cases = list(ElementTree.parse(report).iter("testcase"))
    passed: dict[str, bool] = {}
    for case in cases:
        file = case.get("classname", "").removeprefix("tests.").replace(".", "/")
        name = f"{file}.py::{case.get('name', '').partition('[')[0]}"
        passed[name] = passed.get(name, True) and not any(e.tag in ("failure", "error") for e in case)
    return {name: passed.get(name, False) for name in names}


def table(passed: dict[str, bool]) -> list[str]:
    """Return the Markdown table."""
    lines = ["| fault or input | must hold | tests | |", "|---|---|---|---|"]
    for row in TESTED:
        files = ", ".join(f"`{file}`" for file in dict.fromkeys(name.partition("::")[0] for name in row.tests))
        held = "held" if all(passed[name] for name in row.tests) else "**did not hold**"
        lines.append(f"| {row.fault} | {row.holds} | {files} | {held} |")
    return lines
