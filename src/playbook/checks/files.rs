//! What loading promises of other files: roles, imports and includes.

use std::path::Path;

use super::{errors, one_play, outline, title};
use crate::playbook::memory::{Memory, load, show};
use crate::playbook::{Item, Keyword, RoleRequest, Vars, include_role, include_tasks};
use crate::value::Map;

const DEPENDENT_ROLES: &[(&str, &str)] = &[
    (
        "site.yml",
        "- hosts: all\n  roles:\n    - {role: app, listen_port: 80, vars: {a: b}, tags: x}\n  pre_tasks:\n    \
         - debug:\n      name: before\n  tasks:\n    - debug:\n      name: own\n  handlers:\n    - \
         debug:\n      name: play handler\n",
    ),
    (
        "roles/app/meta/main.yml",
        "dependencies:\n  - base\n  - {role: base, when: odd}\nallow_duplicates: true\n",
    ),
    ("roles/app/tasks/main.yaml", "- debug:\n  name: app task\n"),
    (
        "roles/app/handlers/main.yml",
        "- debug:\n  name: app handler\n  listen: topic\n",
    ),
    ("roles/app/defaults/main/b.yml", "x: 2\n"),
    ("roles/app/defaults/main/a.yml", "x: 1\ny: 1\n"),
    ("roles/base/tasks/main.yml", "- debug:\n  name: base task\n"),
    (
        "roles/base/handlers/main.yml",
        "- debug:\n  name: base handler\n",
    ),
];

#[test]
fn roles_run_after_their_dependencies_and_before_the_tasks() {
    let play = one_play(DEPENDENT_ROLES);
    assert_eq!(outline(&play.pre_tasks), ["before"]);
    assert_eq!(
        outline(&play.tasks),
        [
            "base task",
            "/base",
            "base task",
            "/base",
            "app task",
            "/app",
            "own"
        ]
    );
    let handlers: Vec<_> = play.handlers.iter().map(|task| title(task)).collect();
    assert_eq!(
        handlers,
        [
            "base handler",
            "base handler",
            "app handler",
            "play handler"
        ]
    );
    assert_eq!(play.handlers[2].listen, ["topic"]);
    let app = &play.roles[0];
    assert_eq!(
        (play.roles.len(), app.allow_duplicates, app.public),
        (1, true, true)
    );
    let shown = |vars: &Vars| -> Vec<String> {
        vars.iter()
            .map(|(name, value)| format!("{name}={}", value.to_value()))
            .collect()
    };
    assert_eq!(shown(&app.defaults), ["x=2", "y=1"]);
    assert_eq!(shown(&app.params), ["listen_port=80"]);
    assert_eq!(shown(&app.use_vars), ["a=b"]);
    let [first, second] = app.dependencies.as_slice() else {
        panic!("{:?}", app.dependencies)
    };
    assert_ne!(first.identity, second.identity);
}

#[test]
fn a_variable_with_a_reserved_name_draws_a_warning_once() {
    let playbook = load(&[
        (
            "site.yml",
            "- hosts: all\n  vars: {query: x}\n  roles: [a, a]\n",
        ),
        ("roles/a/defaults/main.yml", "fine: 1\nname: x\n"),
    ])
    .expect("reserved names are allowed");
    let warnings: Vec<_> = playbook
        .warnings
        .iter()
        .map(|(text, mark)| format!("{mark} {text}"))
        .collect();
    assert_eq!(
        warnings,
        [
            "site.yml:2:10 Found variable using reserved name 'query'.",
            "roles/a/defaults/main.yml:2:1 Found variable using reserved name 'name'.",
        ]
    );
}

#[test]
fn a_circle_of_roles_is_named() {
    assert_eq!(
        errors(&[
            ("site.yml", "- hosts: all\n  roles: [a]\n"),
            ("roles/a/meta/main.yml", "dependencies: [b]\n"),
            ("roles/b/meta/main.yml", "dependencies: [a]\n"),
        ]),
        ["roles/b/meta/main.yml:1:16 roles depend on each other in a circle: a → b → a"]
    );
}

#[test]
fn a_role_file_that_leaves_the_role_is_refused() {
    assert_eq!(
        errors(&[
            (
                "site.yml",
                "- hosts: all\n  tasks:\n    - import_role: {name: a, tasks_from: ../../x.yml}\n    - \
                 import_role: {name: a, tasks_from: mian}\n"
            ),
            ("roles/a/tasks/main.yml", "[]"),
            ("roles/x.yml", "[]"),
        ]),
        [
            "site.yml:3:42 `/p/roles/x.yml` is not inside the expected role path `/p/roles/a/tasks`",
            "site.yml:4:42 the role has no file `tasks/mian` (did you mean `main`?)",
        ]
    );
}

#[test]
fn imported_files_are_found_beside_the_file_that_imports() {
    let play = one_play(&[
        (
            "site.yml",
            "- hosts: all\n  vars: {dir: sub}\n  tasks:\n    - import_tasks: '{{ dir }}/a.yml'\n",
        ),
        (
            "sub/a.yml",
            "- import_tasks: b.yml\n- import_tasks: top.yml\n",
        ),
        ("sub/b.yml", "- debug:\n  name: in sub\n"),
        ("b.yml", "- debug:\n  name: not this\n"),
        ("top.yml", "- debug:\n  name: at the top\n"),
    ]);
    assert_eq!(outline(&play.tasks), ["in sub", "at the top"]);
}

#[test]
fn an_imported_playbook_gets_variables_tags_and_conditions() {
    let playbook = load(&[
        (
            "site.yml",
            "- import_playbook: sub/other.yml\n  vars: {a: 1, b: 1}\n  tags: [t]\n  when: wanted\n",
        ),
        (
            "sub/other.yml",
            "- hosts: all\n  vars: {a: 2, c: 2}\n  tags: own\n  tasks:\n    - debug:\n      when: \
             inner\n",
        ),
    ])
    .expect("the playbook is right");
    let play = &playbook.plays[0];
    let vars: Vec<_> = play
        .layer
        .vars
        .iter()
        .map(|(name, value)| format!("{name}={}", value.to_value()))
        .collect();
    assert_eq!(vars, ["a=1", "c=2", "b=1"]);
    assert_eq!(play.directory.to_string_lossy(), "/p/sub");
    assert_eq!(play.import_conditions.len(), 1);
    let Item::Task(task) = &play.tasks[0] else {
        panic!("{:?}", play.tasks)
    };
    assert_eq!(task.tags(), ["own", "t"]);
    let conditions: Vec<_> = task
        .conditions()
        .iter()
        .map(|node| node.to_value().to_string())
        .collect();
    assert_eq!(conditions, ["wanted", "inner"]);
}

#[test]
fn a_dynamic_include_gives_variables_and_apply_but_not_its_keywords() {
    let files = Memory::new(&[
        (
            "site.yml",
            "- hosts: all\n  tasks:\n    - include_tasks:\n        file: more.yml\n        apply: \
             {become: true, tags: [applied]}\n      vars: {a: b}\n      when: outer\n      tags: \
             [include]\n",
        ),
        ("more.yml", "- debug:\n  tags: own\n"),
    ]);
    let context = files.context();
    let playbook = crate::playbook::load(Path::new("site.yml"), &context).expect("it is right");
    let play = &playbook.plays[0];
    let Item::Task(include) = &play.tasks[0] else {
        panic!("{:?}", play.tasks)
    };
    let items = include_tasks(&context, play, include, "more.yml", Map::new()).expect("it loads");
    let Item::Task(task) = &items[0] else {
        panic!("{items:?}")
    };
    assert_eq!(task.tags(), ["own", "applied"]);
    assert!(task.conditions().is_empty());
    assert!(task.keyword(Keyword::Become).is_some());
    assert!(
        task.layer
            .outwards()
            .any(|layer| layer.vars.contains_key("a"))
    );
    assert!(task.id > include.id);
    let gone = include_tasks(&context, play, include, "mroe.yml", Map::new());
    assert_eq!(
        show(&gone.expect_err("there is no such file")),
        ["site.yml:4:15 could not find or access `/p/mroe.yml` (did you mean `more.yml`?)"]
    );
}

#[test]
fn an_included_role_brings_tasks_handlers_and_itself() {
    let files = Memory::new(&[
        (
            "site.yml",
            "- hosts: all\n  tasks:\n    - include_role: {name: '{{ which }}'}\n",
        ),
        (
            "roles/a/tasks/main.yml",
            "- import_role: {name: b}\n- debug:\n  name: in a\n",
        ),
        ("roles/a/handlers/main.yml", "- debug:\n  name: of a\n"),
        ("roles/b/tasks/main.yml", "- debug:\n  name: in b\n"),
        ("roles/b/handlers/main.yml", "- debug:\n  name: of b\n"),
    ]);
    let context = files.context();
    let playbook = crate::playbook::load(Path::new("site.yml"), &context).expect("it is right");
    let play = &playbook.plays[0];
    let Item::Task(include) = &play.tasks[0] else {
        panic!("{:?}", play.tasks)
    };
    assert!(include.shown_role().is_none());
    let request = RoleRequest {
        name: "a".to_owned(),
        ..RoleRequest::default()
    };
    let found = include_role(&context, play, include, &request, Map::new()).expect("it loads");
    assert_eq!(outline(&found.items), ["in b", "/b", "in a", "/a"]);
    let handlers: Vec<_> = found.handlers.iter().map(|task| title(task)).collect();
    assert_eq!(handlers, ["of a", "of b"]);
    let shown = found.handlers[0].shown_role().map(|role| role.full_name());
    assert_eq!(shown.as_deref(), Some("a"));
    let roles: Vec<_> = found
        .roles
        .iter()
        .map(|role| (role.name.as_str(), role.public))
        .collect();
    assert_eq!(roles, [("a", false), ("b", true)]);
}
