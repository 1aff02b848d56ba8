//! What loading promises: the errors of wrong playbooks, and the shape of right ones.

mod files;

use super::memory::{load, show};
use super::{ActionKind, Args, Item, Keyword, Loop, Meta, ModuleName, Play, Task};

/// Loads one play with these tasks (indented by four) and shows the errors.
fn task_errors(tasks: &str) -> Vec<String> {
    let text = format!("- hosts: all\n  tasks:\n{tasks}");
    match load(&[("site.yml", &text)]) {
        Ok(_) => Vec::new(),
        Err(errors) => show(&errors),
    }
}

fn errors(files: &[(&str, &str)]) -> Vec<String> {
    match load(files) {
        Ok(_) => Vec::new(),
        Err(errors) => show(&errors),
    }
}

fn one_play(files: &[(&str, &str)]) -> std::sync::Arc<Play> {
    match load(files) {
        Ok(playbook) => playbook.plays[0].clone(),
        Err(errors) => panic!("{:#?}", show(&errors)),
    }
}

/// Loads one task (indented by four) of a right play.
fn one_task(text: &str) -> std::sync::Arc<Task> {
    let play = one_play(&[("site.yml", &format!("- hosts: all\n  tasks:\n{text}"))]);
    match &play.tasks[0] {
        Item::Task(task) => task.clone(),
        other => panic!("{other:?}"),
    }
}

/// Shows the tasks of a list by their names, blocks in brackets, ends of roles as `/role`.
fn outline(items: &[Item]) -> Vec<String> {
    items
        .iter()
        .flat_map(|item| match item {
            Item::Task(task) => vec![title(task)],
            Item::Block(block) => {
                let mut inner = vec!["[".to_owned()];
                inner.extend(outline(&block.block));
                for (name, part) in [("rescue", &block.rescue), ("always", &block.always)] {
                    if !part.is_empty() {
                        inner.push(name.to_owned());
                        inner.extend(outline(part));
                    }
                }
                inner.push("]".to_owned());
                inner
            }
            Item::RoleComplete(role) => vec![format!("/{}", role.name)],
        })
        .collect()
}

fn title(task: &Task) -> String {
    task.name.as_ref().map_or_else(
        || task.action.written.to_value().to_string(),
        |name| name.to_value().to_string(),
    )
}

fn args(task: &Task) -> (&ModuleName, &Args) {
    match &task.action.kind {
        ActionKind::Module { name, args } => (name, args),
        other => panic!("{other:?}"),
    }
}

fn shown_args(text: &str) -> String {
    let task = one_task(text);
    let (_, args) = args(&task);
    let options: Vec<_> = args
        .options
        .iter()
        .map(|(key, value)| format!("{}={}", key.to_value(), value.to_value()))
        .collect();
    let free = args
        .free_form
        .as_ref()
        .map(|text| format!(" text {}", text.to_value()));
    let variable = args
        .variable
        .as_ref()
        .map(|text| format!(" from {}", text.to_value()));
    format!(
        "{}{}{}",
        options.join(" "),
        free.unwrap_or_default(),
        variable.unwrap_or_default()
    )
}

#[test]
fn an_unknown_option_is_left_to_a_task_whose_failure_the_playbook_meets() {
    for tasks in [
        "    - copy: {dst: /a}\n      ignore_errors: true\n",
        "    - block:\n        - copy: {dst: /a}\n      rescue:\n        - debug:\n",
    ] {
        assert_eq!(task_errors(tasks), Vec::<String>::new(), "{tasks}");
    }
    let expected = "module `copy` has no option `dst` (did you mean `dest`?)";
    let always = "    - block:\n        - copy: {dst: /a}\n      always:\n        - debug:\n";
    assert_eq!(task_errors(always), [format!("site.yml:4:18 {expected}")]);
}

#[test]
fn wrong_tasks_are_named_at_their_place_with_the_nearest_name() {
    for (tasks, expected) in [
        (
            "    - debug: {msg: hi}\n      whne: x\n",
            "site.yml:4:7 'whne' is not a valid attribute for a Task (did you mean `when`?)",
        ),
        (
            "    - cppy: {src: a}\n",
            "site.yml:3:7 there is no module `cppy` (did you mean `copy`?)",
        ),
        (
            "    - ansible.builtin.coyp: {src: a}\n",
            "site.yml:3:7 there is no module `ansible.builtin.coyp` (did you mean `copy`?)",
        ),
        (
            "    - copy: {dst: a}\n",
            "site.yml:3:14 module `copy` has no option `dst` (did you mean `dest`?)",
        ),
        (
            "    - copy: dst=a src=b\n",
            "site.yml:3:13 module `copy` has no option `dst` (did you mean `dest`?)",
        ),
        (
            "    - copy: {src: a}\n      debug: {msg: b}\n",
            "site.yml:4:7 conflicting actions: `copy` and `debug` (a task does one thing: write two \
             tasks)",
        ),
        (
            "    - name: nothing\n",
            "site.yml:3:7 the task has no action (name a module, e.g. `debug:`)",
        ),
        (
            "    - just text\n",
            "site.yml:3:7 a task must be a dictionary, not text (write `module: options` or `name: \
             ...` after the dash)",
        ),
        (
            "    - debug: hello\n",
            "site.yml:3:14 `debug` takes no text besides `key=value` options (write its options as a \
             dictionary)",
        ),
        (
            "    - debug: msg=\"a\n",
            "site.yml:3:14 a quote or a template block is not closed (write the options as a \
             dictionary: then YAML does the quoting)",
        ),
        (
            "    - docker_container: {name: a}\n",
            "site.yml:3:7 module `community.docker.docker_container` is not one that backstay has \
             (docs/compatibility.md lists what it has; others run from a `library/` or an installed collection)",
        ),
        (
            "    - debug:\n      register: a-b\n",
            "site.yml:4:17 Invalid variable name `a-b` (a name starts with a letter or `_` and \
             holds letters, digits and `_`)",
        ),
        (
            "    - debug:\n      vars: [a]\n",
            "site.yml:4:13 `vars` must be a dictionary, not a list (write `name: value` lines)",
        ),
        (
            "    - debug:\n      vars: {1a: x}\n",
            "site.yml:4:14 Invalid variable name `1a` (a name starts with a letter or `_` and \
             holds letters, digits and `_`)",
        ),
        (
            "    - debug:\n      become: perhaps\n",
            "site.yml:4:15 `become` must be true or false, not `perhaps` (write `true` or `false`)",
        ),
        (
            "    - debug:\n      retries: many\n",
            "site.yml:4:16 `retries` must be a whole number, not `many`",
        ),
        (
            "    - debug:\n      tags: {a: b}\n",
            "site.yml:4:13 `tags` must be text or a list, not a dictionary (write `tags: [one, \
             two]`)",
        ),
        (
            "    - debug:\n      debugger: on_fail\n",
            "site.yml:4:17 `debugger` has no value `on_fail`: it is one of always, on_failed, \
             on_unreachable, on_skipped, never (did you mean `on_failed`?)",
        ),
        (
            "    - debug:\n      loop: [1]\n      with_items: [1]\n",
            "site.yml:5:7 two loops in one task: `loop` and `with_items` (keep one of them, or put \
             the task into a file that is included in a loop)",
        ),
        (
            "    - debug:\n      with_itmes: [1]\n",
            "site.yml:4:7 there is no lookup `itmes` for `with_itmes` (did you mean `items`?)",
        ),
        (
            "    - debug:\n      with_items:\n",
            "site.yml:4:7 `with_items` has no value",
        ),
        (
            "    - debug:\n      loop: [1]\n      loop_control: {loopvar: x}\n",
            "site.yml:5:22 `loopvar` is not a key of `loop_control` (did you mean `loop_var`?)",
        ),
        (
            "    - debug:\n      loop: [1]\n      loop_control: '{{ x }}'\n",
            "site.yml:5:21 `loop_control` must be a dictionary, not text (it may hold templates, but \
             not be one)",
        ),
        (
            "    - debug:\n      loop_control:\n",
            "site.yml:4:20 `loop_control` must be a dictionary, not nothing (it may hold templates, \
             but not be one)",
        ),
        (
            "    - debug:\n      module_defaults: {group/awx: {}}\n",
            "site.yml:4:25 `module_defaults` knows no group `awx` (did you mean `aws`?)",
        ),
        (
            "    - debug:\n      when: a ==\n",
            "site.yml:4:13 `a ==` is no condition",
        ),
        (
            "    - debug:\n      failed_when: [b ==]\n",
            "site.yml:4:21 `b ==` is no condition",
        ),
        (
            "    - debug: {msg: '{{ a'}\n",
            "site.yml:3:20 template syntax error",
        ),
        (
            "    - meta: flush_handler\n",
            "site.yml:3:13 `meta` has no action `flush_handler` (did you mean `flush_handlers`?)",
        ),
        (
            "    - meta: end_role\n",
            "site.yml:3:13 `end_role` stands outside of a role",
        ),
        (
            "    - include_tasks: x.yml\n      become: true\n",
            "site.yml:4:7 'become' is not a valid attribute for a TaskInclude (put `become` under \
             `apply:` to give it to the included tasks)",
        ),
        (
            "    - include_tasks: {fil: x.yml}\n",
            "site.yml:3:23 `include_tasks` has no option `fil` (did you mean `file`?)\n\
             site.yml:3:7 `include_tasks` names no file",
        ),
        (
            "    - include_role: {tasks_from: x}\n",
            "site.yml:3:7 `include_role` names no role (give it `name:`)",
        ),
        (
            "    - include_role: {name: x, task_from: y}\n",
            "site.yml:3:31 `include_role` has no option `task_from` (did you mean `tasks_from`?)",
        ),
        (
            "    - import_tasks: x.yml\n      loop: [1]\n",
            "site.yml:3:21 could not find or access `/p/x.yml`\n\
             site.yml:4:7 `import_tasks` cannot loop: it is static (use `include_tasks`)",
        ),
        (
            "    - import_tasks: '{{ nope }}.yml'\n",
            "site.yml:3:21 'nope' is undefined (a static import is resolved before any host is \
             known: its name may only use `vars`, `vars_files` and extra variables)",
        ),
        ("    -\n    - always: []\n", ""),
        (
            "    - rescue: [{debug: }]\n",
            "site.yml:3:7 `rescue` stands without a `block` (put the tasks it is for under a \
             `block:` beside it)",
        ),
        (
            "    - block: text\n",
            "site.yml:3:14 `block` must be a list of tasks, not text (start each task with a dash)",
        ),
        (
            "    - block: []\n      register: x\n",
            "site.yml:4:7 'register' is not a valid attribute for a Block",
        ),
        (
            "    - debug:\n      module_defaults: {cpy: {}}\n",
            "site.yml:4:25 there is no module `cpy` (did you mean `copy`?)",
        ),
        (
            "    - debug: {msg: a}\n      args: text\n",
            "site.yml:4:13 `args` must be a dictionary, not text (a template that renders to a \
             dictionary does as well)",
        ),
        (
            "    - copy: {_ansible_x: 1}\n",
            "site.yml:3:14 `_ansible_x` is reserved for the engine itself",
        ),
    ] {
        let mut found = task_errors(tasks);
        let mut expected: Vec<_> = expected.lines().map(str::to_owned).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{tasks}");
    }
}

#[test]
fn wrong_plays_are_named_at_their_place() {
    for (text, expected) in [
        (
            "",
            "site.yml:1:1 the playbook is empty (write a play: `- hosts: all`, with its `tasks:`)",
        ),
        (
            "[]",
            "site.yml:1:1 A playbook must contain at least one play (write a play: `- hosts: all`, \
             with its `tasks:`)",
        ),
        (
            "hosts: all\n",
            "site.yml:1:1 a playbook must be a list of plays, not a dictionary (start each play with \
             `- hosts:`)",
        ),
        (
            "- text\n",
            "site.yml:1:3 an entry of a playbook must be a play or an `import_playbook`, not text",
        ),
        (
            "- tasks: []\n",
            "site.yml:1:3 the play has no `hosts` (say where it runs, e.g. `hosts: all`)",
        ),
        (
            "- hosts:\n",
            "site.yml:1:3 Hosts list cannot be empty. Please check your playbook (say where it runs, \
             e.g. `hosts: all`)",
        ),
        (
            "- hosts: [a, 1]\n",
            "site.yml:1:14 a host must be text, not an integer",
        ),
        (
            "- hosts: all\n  rols: []\n",
            "site.yml:2:3 'rols' is not a valid attribute for a Play (did you mean `roles`?)",
        ),
        (
            "- hosts: all\n  register: x\n",
            "site.yml:2:3 'register' is not a valid attribute for a Play (`register` is for tasks: \
             indent it as far as the other keys of its task)",
        ),
        (
            "- hosts: all\n  tasks: {a: b}\n",
            "site.yml:2:10 A malformed block was encountered while loading tasks: {'a': 'b'} should be a list or None, not a dictionary (start each task with `- name:`)",
        ),
        (
            "- hosts: all\n  strategy: lienar\n",
            "site.yml:2:13 `strategy` has no value `lienar`: it is one of linear, free, host_pinned, \
             debug (did you mean `linear`?)",
        ),
        (
            "- hosts: all\n  order: backwards\n",
            "site.yml:2:10 `order` has no value `backwards`: it is one of inventory, \
             reverse_inventory, sorted, reverse_sorted, shuffle",
        ),
        (
            "- hosts: all\n  max_fail_percentage: most\n",
            "site.yml:2:24 `max_fail_percentage` must be a percentage, not `most`",
        ),
        (
            "- hosts: all\n  user: a\n  remote_user: b\n",
            "site.yml:2:9 both 'user' and 'remote_user' are set for this play. (`user` is the old name of \
             `remote_user`: remove it)",
        ),
        (
            "- hosts: all\n  vars_prompt: [{nam: x}]\n",
            "site.yml:2:17 Invalid vars_prompt data structure, missing 'name' key\n\
             site.yml:2:18 `nam` is not a key of `vars_prompt` (did you mean `name`?)",
        ),
        (
            "- hosts: all\n  vars_files: [{a: b}]\n",
            "site.yml:2:16 a name in `vars_files` must be text, not a dictionary",
        ),
        (
            "- hosts: all\n  roles: web\n",
            "site.yml:2:10 A malformed role declaration was encountered: `roles` should be a list, \
             not text (write a line `- NAME` for each role)",
        ),
        (
            "- hosts: all\n  roles: [web]\n",
            "site.yml:2:11 the role 'web' was not found in /p/roles:/roles:/p",
        ),
        (
            "- hosts: all\n  roles: ['a,b']\n",
            "site.yml:2:11 Invalid old style role requirement: a,b (write `- role: name`)",
        ),
        (
            "- hosts: all\n  roles: [{become: true}]\n",
            "site.yml:2:11 the role has no name (give it `role:`)",
        ),
        (
            "- hosts: all\n  handlers:\n    - block: [{block: []}]\n",
            "site.yml:3:15 a block within a block cannot be a handler",
        ),
        (
            "- hosts: all\n  handlers:\n    - import_role: {name: x}\n",
            "site.yml:3:7 `import_role` cannot be a handler",
        ),
        (
            "- import_playbook: a.yml\n  ansible.builtin.import_playbook: b.yml\n",
            "site.yml:2:3 two `import_playbook` in one entry",
        ),
        (
            "- import_playbook: gone.yml\n",
            "site.yml:1:20 could not read `/p/gone.yml`",
        ),
        (
            "- import_playbook: site.yml\n",
            "site.yml:1:20 imports and roles nest more than 64 levels deep (is this an import that \
             imports itself?)",
        ),
    ] {
        assert_eq!(errors(&[("site.yml", text)]).join("\n"), expected, "{text}");
    }
}

#[test]
fn the_errors_of_all_files_come_together_in_order() {
    assert_eq!(
        errors(&[
            (
                "site.yml",
                "- hosts: all\n  roles: [web]\n  tasks:\n    - import_tasks: more.yml\n    - \
                 nothing: {}\n"
            ),
            ("more.yml", "- debug:\n  whn: x\n"),
            ("roles/web/tasks/main.yml", "- copy: {dst: a}\n"),
            ("roles/web/meta/main.yml", "galaxy_inf: {}\n"),
        ]),
        [
            "roles/web/meta/main.yml:1:1 'galaxy_inf' is not a valid attribute for a RoleMetadata \
             (did you mean `galaxy_info`?)",
            "roles/web/tasks/main.yml:1:10 module `copy` has no option `dst` (did you mean `dest`?)",
            "more.yml:2:3 'whn' is not a valid attribute for a Task (did you mean `when`?)",
            "site.yml:5:7 there is no module `nothing`",
        ]
    );
}

#[test]
fn every_form_of_an_action_gives_the_same_arguments() {
    for (text, expected) in [
        ("    - copy: {src: a, dest: b}\n", "src=a dest=b"),
        ("    - copy: src=a dest='b c'\n", "src=a dest=b c"),
        ("    - action: copy src=a dest=b\n", "src=a dest=b"),
        (
            "    - action: {module: copy, src: a, dest: b}\n",
            "src=a dest=b",
        ),
        (
            "    - action: {module: copy src=a, args: {dest: b}}\n",
            "src=a dest=b",
        ),
        ("    - local_action: copy src=a\n", "src=a"),
        (
            "    - copy: {src: a}\n      args: {src: x, dest: b}\n",
            "dest=b src=a",
        ),
        (
            "    - copy:\n      args: '{{ options }}'\n",
            " from {{ options }}",
        ),
        ("    - copy: '{{ options }}'\n", " from {{ options }}"),
        (
            "    - command: ls -l a=b chdir=/tmp\n",
            "chdir=/tmp text ls -l a=b",
        ),
        ("    - set_fact: a=1 b=2\n", "a=1 b=2"),
        (
            "    - ansible.legacy.command: {_raw_params: ls}\n",
            " text ls",
        ),
    ] {
        assert_eq!(shown_args(text), expected, "{text}");
    }
    let local = one_task("    - local_action: copy src=a\n");
    let delegate = local
        .keyword(Keyword::DelegateTo)
        .map(|to| to.to_value().to_string());
    assert_eq!(delegate.as_deref(), Some("localhost"));
}

#[test]
fn a_module_ansible_has_and_we_have_not_waits_for_its_condition() {
    let task = one_task("    - yum: {name: x}\n      when: false\n");
    let (name, _) = args(&task);
    assert_eq!(
        *name,
        ModuleName::Missing {
            name: "ansible.builtin.dnf".into(),
            why: "module `ansible.builtin.dnf` is not one that backstay has".into(),
        }
    );
}

#[test]
fn a_module_of_a_collection_goes_by_its_full_and_by_its_old_short_name() {
    for written in ["mount", "ansible.posix.mount"] {
        let task = one_task(&format!("    - {written}: {{src: a}}\n"));
        let (name, _) = args(&task);
        assert_eq!(*name, ModuleName::Known("ansible.posix.mount".into()));
    }
    let playbook = "- hosts: all\n  tasks:\n    - mount: {scr: a}\n";
    assert_eq!(
        errors(&[("site.yml", playbook)]),
        ["site.yml:3:15 module `copy` has no option `scr` (did you mean `src`?)"]
    );
}

#[test]
fn a_module_in_a_library_wins_unless_ansible_core_s_is_named_in_full() {
    let found = |written: &str| {
        let playbook = format!("- hosts: all\n  tasks:\n    - {written}: {{src: b}}\n");
        let play = one_play(&[
            ("site.yml", &playbook),
            ("library/mine.sh", ""),
            ("library/copy.py", ""),
            ("library/debug", ""),
            (
                "/collections/ansible_collections/a/b/plugins/modules/c.py",
                "",
            ),
        ]);
        let Item::Task(task) = &play.tasks[0] else {
            panic!("no task");
        };
        match args(task).0 {
            ModuleName::External(module) => module.path.display().to_string(),
            other => format!("{other:?}"),
        }
    };
    assert_eq!(found("mine"), "/p/library/mine.sh");
    assert_eq!(found("copy"), "/p/library/copy.py");
    assert_eq!(found("ansible.legacy.copy"), "/p/library/copy.py");
    assert_eq!(
        found("ansible.builtin.copy"),
        "Known(\"ansible.builtin.copy\")"
    );
    assert_eq!(
        found("a.b.c"),
        "/collections/ansible_collections/a/b/plugins/modules/c.py"
    );
}

#[test]
fn a_block_of_handlers_gives_its_tasks_as_handlers() {
    let play = one_play(&[
        (
            "site.yml",
            "- hosts: all\n  handlers:\n    - when: wanted\n      block:\n        - {debug: , name: \
         a}\n        - import_tasks: more.yml\n      always:\n        - {debug: , name: never}\n",
        ),
        ("more.yml", "- block: [{debug: , name: b}]\n"),
    ]);
    let handlers: Vec<_> = play.handlers.iter().map(|task| title(task)).collect();
    assert_eq!(handlers, ["a", "b"]);
    assert!(
        play.handlers
            .iter()
            .all(|task| task.handler && task.conditions().len() == 1)
    );
}

#[test]
fn keywords_reach_tasks_through_play_role_import_and_block() {
    let play = one_play(&[
        (
            "site.yml",
            "- hosts: all\n  become: true\n  environment: {A: play}\n  tags: play\n  tasks:\n    - \
             import_role: {name: web}\n      when: one\n      become_user: www\n      tags: [import]\n",
        ),
        (
            "roles/web/tasks/main.yml",
            "- block:\n    - debug:\n      when: [three, four]\n      environment: [{A: task}]\n      \
             tags: task, more\n      become: false\n  when: two\n  notify: restart\n",
        ),
    ]);
    let Item::Block(block) = &play.tasks[0] else {
        panic!("{:?}", play.tasks)
    };
    let Item::Task(task) = &block.block[0] else {
        panic!("{block:?}")
    };
    let shown = |nodes: Vec<&crate::node::Node>| -> Vec<String> {
        nodes
            .iter()
            .map(|node| node.to_value().to_string())
            .collect()
    };
    assert_eq!(shown(task.conditions()), ["one", "two", "three", "four"]);
    assert_eq!(
        shown(task.environment()),
        ["{'A': 'play'}", "{'A': 'task'}"]
    );
    assert_eq!(task.tags(), ["task", "more", "import", "play"]);
    assert_eq!(shown(task.notify()), ["restart"]);
    let becomes: Vec<_> = task
        .layer
        .values(Keyword::Become)
        .map(crate::node::Node::to_value)
        .collect();
    assert_eq!(becomes, [false.into(), true.into()]);
    let user = task
        .keyword(Keyword::BecomeUser)
        .map(|node| node.to_value().to_string());
    assert_eq!(user.as_deref(), Some("www"));
    assert_eq!(task.role().map(|role| role.name.as_str()), Some("web"));
}

#[test]
fn loops_meta_and_blocks_keep_their_shape() {
    let task = one_task(
        "    - debug:\n      with_dict: '{{ a }}'\n      loop_control: {label: x, break_when: [a, b]}\n",
    );
    assert!(matches!(&task.loop_over, Some(Loop::With { lookup, .. }) if lookup == "dict"));
    assert_eq!(task.loop_control.break_when.len(), 2);
    let task = one_task("    - meta: end_play\n");
    assert!(matches!(task.action.kind, ActionKind::Meta(Meta::EndPlay)));
    let play = one_play(&[(
        "site.yml",
        "- hosts: all\n  tasks:\n    - block: [{debug: , name: a}]\n      rescue: [{debug: , name: \
         b}]\n      always: [{debug: , name: c}]\n",
    )]);
    assert_eq!(
        outline(&play.tasks),
        ["[", "a", "rescue", "b", "always", "c", "]"]
    );
}
