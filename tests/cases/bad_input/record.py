"""Records tests/cases/bad_input/*.txt: what backstay says, checked against ansible-core's exit code,
and NAME.ansible beside it: what ansible-core says.

    record.py BACKSTAY VENV/bin

Where ansible-core's code is another one, the case stands in DIFFERS with the reason.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent.resolve()
PLAY = "backstay play -i hosts"
CASES = {
    name: f"{PLAY} {name}/site.yml"
    for name in (
        "attribute_typo", "bad_fact_name", "bad_regex", "bad_register", "bad_serial", "bad_variable_name",
        "bad_version", "block_no_list", "braces_in_condition", "broken_vars_file", "broken_yaml",
        "chain_of_variables", "circle_of_variables", "condition_assigns", "condition_no_boolean",
        "condition_undefined", "data_no_json", "empty_hosts", "empty_playbook", "exclusive_options",
        "import_of_a_play", "include_of_a_play", "loop_on_import", "loop_over_text", "loop_variable_typo",
        "misplaced_key", "missing_colon", "missing_copy_source", "missing_dependency", "missing_file",
        "missing_handler", "missing_import", "missing_imported_playbook", "missing_include_vars",
        "missing_lookup_file", "missing_option", "missing_role", "missing_role_included", "missing_tasks_from",
        "no_hosts", "no_module", "playbook_no_list", "rescue_without_block", "role_circle",
        "roles_directory", "roles_text", "static_name_undefined", "tab_in_yaml", "task_vars_list",
        "tasks_as_playbook", "tasks_no_list", "template_broken", "template_missing", "template_syntax",
        "template_undefined", "two_loops", "two_modules", "unbalanced_quotes", "unclosed_braces", "unclosed_quote",
        "undefined_variable", "unknown_anchor", "unknown_become_method", "unknown_delegate", "unknown_filter",
        "unknown_keyword", "unknown_lookup", "unknown_loop", "unknown_loop_control", "unknown_meta", "unknown_module",
        "unknown_option", "unknown_play_keyword", "unknown_strategy", "unknown_test", "unquoted_colon", "vars_list",
        "windows_tab", "wrong_become", "wrong_choice", "wrong_indent", "wrong_option_type",
        "wrong_retries", "wrong_role_argument", "wrong_tags",
    )
} | {
    "missing_playbook": f"{PLAY} absent.yml",
    "undefined_group": f"{PLAY} good/web.yml",
    "undefined_group_is_an_error": f"ANSIBLE_HOST_PATTERN_MISMATCH=error {PLAY} good/web.yml",
    "bad_limit": f"{PLAY} --limit nosuch good/site.yml",
    "bad_limit_file": f"{PLAY} --limit @absent good/site.yml",
    "unknown_option_of_the_command": f"{PLAY} --chekc good/site.yml",
    "unknown_setting": f"ANSIBLE_GATHERING=smrat {PLAY} good/site.yml",
    "wrong_vault_password": f"{PLAY} --vault-password-file vaulted/wrong vaulted/site.yml",
    "missing_vault_password": f"{PLAY} vaulted/site.yml",
    "missing_vault_password_file": f"{PLAY} --vault-password-file absent vaulted/site.yml",
    "wrong_vault_id": f"{PLAY} --vault-id prod@absent vaulted/site.yml",
    "cut_vault": f"{PLAY} --vault-password-file vaulted/right vaulted/cut_site.yml",
    "missing_extra_vars_file": f"{PLAY} -e @absent.yml good/site.yml",
    "broken_extra_vars_file": f"{PLAY} -e @broken_extra.yml good/site.yml",
    "wrong_forks": f"{PLAY} -f many good/site.yml",
    "broken_configuration": f"ANSIBLE_CONFIG=broken.cfg {PLAY} good/site.yml",
    "wrong_setting_in_file": f"ANSIBLE_CONFIG=wrong.cfg {PLAY} good/site.yml",
    "bad_extra_vars": f"{PLAY} -e greeting good/site.yml",
    "ad_hoc_unknown_module": "backstay run -i hosts all -m tempalte -a src=a",
    "ad_hoc_undefined_variable": "backstay run -i hosts all -m shell -a touch~{{home}}",
    "ad_hoc_no_host": "backstay run -i hosts nosuch -m ping",
    "ad_hoc_no_host_is_an_error": "ANSIBLE_HOST_PATTERN_MISMATCH=error backstay run -i hosts nosuch -m ping",
    "ad_hoc_no_host_listed": "backstay run -i hosts nosuch --list-hosts",
    "step_without_answers": f"{PLAY} --step good/site.yml",
    "unknown_start_at_task": f"{PLAY} --start-at-task nosuch good/site.yml",
} | {
    f"inventory_{name}{suffix}": f"{setting}backstay run -i inventories/{source} all -m ping"
    for name, source in (
        ("missing", "absent"), ("broken_yaml", "broken.yml"), ("broken_ini", "broken.ini"), ("broken_toml", "broken.toml"),
        ("empty_directory", "empty"), ("unknown_plugin", "plugin.yml"), ("circle", "circle.ini"), ("range", "range.ini"),
        ("wrong_key", "wrong.yml"), ("host_list", "host_list.yml"), ("group_vars_broken", "group_vars_broken"),
    )
    for suffix, setting in (
        ("", ""),
        ("_any_unparsed", "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED=1 "),
        ("_unparsed", "ANSIBLE_INVENTORY_UNPARSED_FAILED=1 "),
    )
}
NAMES = {"play": "ansible-playbook", "run": "ansible"}
DIFFERS = {
    "bad_serial": "ansible-core ends with 250 and a traceback",
    "include_of_a_play": "the failure of its hosts, as with any file that cannot be included",
    "wrong_become": "known before a host is touched",
    "wrong_retries": "known before a host is touched",
    "condition_assigns": "known before a host is touched",
    "template_syntax": "known before a host is touched",
    "unknown_filter": "known before a host is touched",
    "unknown_option": "known before a host is touched",
    "unknown_test": "known before a host is touched",
    "unknown_lookup": "known before a host is touched",
    "ad_hoc_unknown_module": "known before a host is touched",
    "bad_extra_vars": "ansible-core ignores what is no variable",
    "step_without_answers": "ansible-core ends with 250 and a traceback",
    "unknown_start_at_task": "ansible-core tells the error and ends with 0",
}


def run(line, program, home):
    words = line.split(" ")
    at = words.index("backstay")
    command, rest = words[at + 1], words[at + 2:]
    environment = dict(word.split("=") for word in words[:at]) | {"HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    argv = [program, command] if program.name == "backstay" else [program / NAMES[command]]
    return subprocess.run([*argv, *rest], cwd=HERE, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def main(backstay, ansible):
    for name, line in CASES.items():
        with tempfile.TemporaryDirectory() as home:
            ours, theirs = run(line, backstay, home), run(line, ansible, home)
        if ours.returncode != theirs.returncode and name not in DIFFERS:
            print(f"{name}: {ours.returncode}, ansible-core {theirs.returncode}\n{ours.stderr}\n{theirs.stdout}{theirs.stderr}")
        text = f"$ {line}\nexit {ours.returncode}\n--- stdout\n{ours.stdout}--- stderr\n{ours.stderr}"
        their = f"ansible-core 2.19.14, exit {theirs.returncode}\n{theirs.stdout}{theirs.stderr}"
        for told, ending in ((text, "txt"), (their, "ansible")):
            told = told.replace(str(HERE), "$CASES").replace(home, "$HOME").replace(str(ansible.parent), "$VENV")
            (HERE / f"{name}.{ending}").write_text(told)


if __name__ == "__main__":
    main(*(pathlib.Path(os.path.abspath(path)) for path in sys.argv[1:]))
