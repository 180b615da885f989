"""Each abuse of messages, URLs and secrets, and the tests that show what it gets."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from rabbitjobs import settings
from rabbitjobs.errors import ConfigError
from rabbitjobs.topology.config import load

ROOT = Path(__file__).parents[2]
HOSTILE = "tests/security/test_hostile_messages.py"
SIGNED = "tests/security/test_signed_jobs.py"
SECRETS = "tests/security/test_secrets.py"
ESCAPED = "tests/security/test_escaped_output.py"
LOGIN = "tests/security/test_web_login.py"
PAGES = "tests/security/test_web_pages.py"
HOSTS = "tests/security/test_web_hosts.py"
WEB_ROLES = "tests/security/test_web_roles.py"

ROWS = {
    "pickle body or content type": [
        f"{HOSTILE}::test_pickle_by_its_content_type_is_refused_unread",
        f"{HOSTILE}::test_pickle_in_the_body_of_a_json_job_is_only_wrong_json",
    ],
    "unknown job name, dotted path, os.system": [
        f"{HOSTILE}::test_unknown_job_names_dotted_paths_and_os_system_are_looked_up_and_never_imported"
    ],
    "undecodable frames, huge timestamps, deep headers": [
        "rabbitjobs/testing/wire/poison.py::"
        "test_a_poison_message_is_marked_and_the_next_healthy_one_arrives",
        "tests/unit/wire/test_guard.py::"
        "test_no_bytes_at_all_get_past_the_guard_and_kill_the_library",
        "tests/broker/test_core_endings.py::test_strange_messages_have_their_own_endings",
    ],
    "JSON abuse": [f"{HOSTILE}::test_json_abuse_ends_on_the_desk_and_never_in_a_crash"],
    "zip bomb": [f"{HOSTILE}::test_a_zip_bomb_is_not_decompressed"],
    "oversize body": [
        f"{HOSTILE}::test_an_oversize_body_is_refused_before_it_is_sent_with_the_limit_in_the_text"
    ],
    "tampered body, job, queue, expiry; unknown key id": [
        f"{SIGNED}::test_tampered_body_job_queue_expiry_and_unknown_key_id_end_in_quarantine",
        "tests/unit/message/test_signing.py::test_what_is_covered_cannot_be_changed",
    ],
    "replay of a signed message": [
        f"{SIGNED}::test_replay_of_a_signed_message_is_dropped_by_job_id_and_ends_by_expiry"
    ],
    "spoofed user_id": [
        f"{HOSTILE}::test_a_spoofed_user_id_is_refused_by_the_broker_and_shown_as_an_error"
    ],
    "no_verify_ssl in a URL": [f"{SECRETS}::test_no_verify_ssl_and_its_like_are_refused_in_a_url"],
    "a password in repr, logs, errors, ps": [
        f"{SECRETS}::test_a_password_is_in_no_repr",
        f"{SECRETS}::test_a_password_is_in_no_error_about_the_config",
        f"{SECRETS}::test_a_password_and_a_key_are_in_no_log_and_not_in_ps",
        f"{SECRETS}::test_a_password_is_in_no_error_of_a_command",
        "tests/unit/monitor/test_logs.py::test_secrets_are_masked_wherever_they_stand",
        "tests/unit/broker/test_url_secrets.py::test_a_broker_url_that_cannot_be_read",
        "tests/unit/broker/test_url_secrets.py::test_a_store_url_that_cannot_be_read",
    ],
    "newline or ANSI escape": [
        f"{ESCAPED}::test_a_newline_or_an_ansi_escape_in_a_name_or_payload_is_one_escaped_line",
        "tests/unit/monitor/test_logs.py::test_an_event_is_one_line_without_escape_sequences",
        "tests/unit/notify/test_wording.py::"
        "test_a_job_name_with_line_breaks_and_escapes_stays_on_one_line",
    ],
    "<script> in a payload shown on the review page": [
        f"{PAGES}::test_a_script_in_a_payload_is_shown_as_text_on_every_page",
        f"{PAGES}::test_every_answer_forbids_inline_scripts_framing_sniffing_and_keeping",
        f"{PAGES}::test_a_payload_is_handed_out_as_a_file_that_no_browser_runs",
    ],
    "cross-site POST to retry, approve or discard": [
        f"{PAGES}::test_a_cross_site_post_to_an_action_is_refused",
        f"{PAGES}::test_the_api_takes_no_session_without_its_token_and_no_other_site",
        f"{HOSTS}::test_without_people_other_sites_still_change_nothing",
        f"{LOGIN}::test_a_login_from_another_site_is_refused",
    ],
    "the web page started without auth": [
        f"{HOSTS}::test_the_web_page_started_without_auth_refuses_to_bind_off_loopback",
        f"{HOSTS}::test_without_people_only_this_machine_is_answered_whatever_is_bound",
        "tests/web/test_web_process.py::test_off_this_machine_it_refuses_to_start",
    ],
    "login brute force": [
        f"{LOGIN}::test_login_brute_force_is_refused_before_the_password_is_looked_at",
        f"{LOGIN}::test_brute_force_from_many_places_meets_the_limit_of_the_name",
        f"{LOGIN}::test_an_unknown_name_takes_as_long_as_a_wrong_password",
        f"{LOGIN}::test_an_unknown_name_and_a_wrong_password_get_the_same_answer",
    ],
    "session fixation": [
        f"{LOGIN}::test_session_fixation_is_refused_the_cookie_of_before_is_worth_nothing",
        f"{LOGIN}::test_a_login_rotates_the_session_and_ends_the_one_before",
        f"{LOGIN}::test_a_session_cookie_is_secure_httponly_samesite_and_bound_to_the_host",
    ],
    "open redirect": [
        f"{LOGIN}::test_an_open_redirect_after_the_login_goes_home_instead",
        f"{HOSTS}::test_no_link_and_no_redirect_holds_a_host",
    ],
    "path traversal": [f"{HOSTS}::test_path_traversal_is_refused"],
    "host header tricks": [
        f"{HOSTS}::test_host_header_tricks_are_refused",
        f"{HOSTS}::test_a_proxy_is_believed_only_where_the_config_names_it",
    ],
    "roles on pages and in the API": [
        f"{WEB_ROLES}::test_nothing_but_the_login_and_static_files_is_seen_by_nobody",
        f"{WEB_ROLES}::test_a_role_and_its_limits_hold_on_pages_and_in_the_api",
        f"{WEB_ROLES}::test_a_token_does_no_more_than_its_role",
    ],
    "the exception type in a stored result": [
        f"{HOSTILE}::test_the_exception_type_in_a_result_is_plain_data"
    ],
    "YAML with tags or duplicate keys": [
        "tests/security/test_rows.py::test_yaml_tags_and_duplicate_keys_are_errors_with_their_line",
        "tests/unit/test_yaml.py::test_faults_are_told_with_their_line",
    ],
}


@pytest.mark.parametrize("tests", ROWS.values(), ids=ROWS)
def test_every_row_has_its_tests(tests: list[str]) -> None:
    """By name: a test that is renamed or removed takes its row along only on purpose."""
    for test in tests:
        path, _, name = test.partition("::")
        assert re.search(rf"def {name}\(", (ROOT / path).read_text()), test


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("app: !!python/object/apply:os.system [true]", "without a tag"),
        ("app: !!python/name:os.system", "without a tag"),
        ("store: !include /etc/passwd", "without a tag"),
        ("app: a\napp: b", "each key once"),
        ("store: {url: a, url: b}", "each key once"),
        ("base: &base {url: a}\nstore: {<<: *base}", "a merge key"),
    ],
)
@pytest.mark.parametrize("name", [settings.FILE, settings.TOPOLOGY_FILE])
def test_yaml_tags_and_duplicate_keys_are_errors_with_their_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str, name: str
) -> None:
    """In both files; nothing is built, called or read because a config says so."""
    called: list[Any] = []
    monkeypatch.setattr(os, "system", called.append)
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=said) as wrong:
        settings.load(tmp_path, {}) if name == settings.FILE else load(tmp_path / name, env={})
    assert re.search(rf"{re.escape(name)}:[12]: ", str(wrong.value))
    assert called == []
