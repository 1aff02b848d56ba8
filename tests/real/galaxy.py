"""Unmodified public roles of many authors: both engines bring a fresh host to the same state.

`suite --roles DIRECTORY` registers them, and runs nothing else. DIRECTORY is made by

    ansible-galaxy role install -r tests/real/galaxy.yml -p DIRECTORY

The oracle needs the package `ansible` beside ansible-core. A role is played twice by each engine.
The recaps of both plays must be equal (so it changes nothing the second time where it changes
nothing under Ansible), and then all of /etc, packages, users, services, and what the role's row
names.
"""

import re

from lab import promise, same

# What no two hosts have in common, or what Debian's own packages draw at random.
UNLIKE = """
    /etc/ssh/ssh_host_* /etc/hostname /etc/hosts /etc/machine-id /etc/shadow* /etc/gshadow* /etc/passwd- /etc/group-
    /etc/subuid- /etc/subgid- /etc/ld.so.cache /etc/ssl/private/* /etc/ssl/certs/ssl-cert-snakeoil.pem
    /etc/ssl/certs/*.0 /etc/mysql/debian.cnf /etc/ssh/sshd_config.d/lab.conf /etc/ansible/facts.d
""".split()

STATE = """
    export LC_ALL=C.UTF-8
    find /etc {paths} ! -type d \\( {unlike} \\) -prune -o -printf '%p %y %m %u %g %l\\n' | sort
    find /etc {paths} \\( {unlike} \\) -prune -o -type f -exec sha256sum {{}} + | sort -k2
    dpkg-query -W -f '${{Package}} ${{Version}} ${{Status}}\\n'
    getent passwd; getent group; cut -d: -f1,3- /etc/shadow | cut -d: -f1,3-
    systemctl list-unit-files --plain --no-legend | sort
    systemctl list-units --type=service --state=running --plain --no-legend | cut -d' ' -f1 | sort
    {look}
"""

ROLES = {}


def role(name, play, paths="", look="true"):
    ROLES[name] = (play, paths, look)


def register(directory):
    """Makes every role a promise."""
    for name in ROLES:
        def converges(trial, name=name):
            compare(trial, directory, *ROLES[name])

        converges.__name__ = name.replace(".", " ")
        promise(converges)


def compare(trial, directory, play, paths, look):
    (trial.work / "application").mkdir()
    trial.file("application/index.html", "an application\n")
    # Hosts share the machine's ports, so the twins live one after the other.
    wanted, found = (outcome(trial, directory, engine, play, paths, look) for engine in (trial.oracle, trial.engine))
    trial.lab.renew("h1")
    same(wanted, found)


def outcome(trial, directory, engine, play, paths, look):
    """The recaps of two plays on a fresh host, and the host after them."""
    trial.lab.renew("h1")
    # Some roles are older than the rule that a condition is true or false.
    environment = {"ANSIBLE_ROLES_PATH": str(directory), "ANSIBLE_ALLOW_BROKEN_CONDITIONALS": "True"}
    text = play.replace("APPLICATION", str(trial.work / "application"))
    recaps = []
    for _ in range(2):
        with trial.start(text, engine=engine, environment=environment) as running:
            recaps.append(str(running.finish(seconds=1800).exits(0).recap()["h1"]))
    unlike = " -o ".join(f"-path '{path}'" for path in UNLIKE)
    left = trial.lab.shell("h1", STATE.format(paths=paths, unlike=unlike, look=look))
    return re.sub(r"\.\d+\.\d{4}-\d\d-\d\d@\d\d:\d\d:\d\d~", ".BACKUP~", "\n".join([*recaps, left]))


role("geerlingguy.nginx", """
    - hosts: h1
      vars:
        nginx_vhosts: [{listen: "8088", server_name: example.com, root: /var/www/example.com, extra_parameters: "location / { return 200; }"}]
        nginx_remove_default_vhost: true
        nginx_upstreams: [{name: myapp1, strategy: ip_hash, keepalive: 16, servers: ["127.0.0.1:82 weight=3 max_fails=3", "127.0.0.1:81"]}]
      roles: [geerlingguy.nginx]
""")

role("jdauphant.nginx", """
    - hosts: h1
      vars:
        nginx_http_params: [sendfile on, access_log /var/log/nginx/access.log]
        nginx_sites: {default: [listen 8089, server_name _, root /usr/share/nginx/html], foo: [listen 8090, server_name localhost]}
        nginx_configs: {gzip: [gzip on, gzip_disable msie6]}
      roles: [jdauphant.nginx]
""")

role("geerlingguy.redis", """
    - hosts: h1
      vars: {redis_port: 6399, redis_bind_interface: 127.0.0.1, redis_save: [900 1]}
      roles: [geerlingguy.redis]
""")

role("geerlingguy.postgresql", """
    - hosts: h1
      become: true
      vars:
        postgresql_databases: [{name: example_db}]
        postgresql_users: [{name: jdoe, password: secret}]
        postgresql_hba_entries: [{type: local, database: all, user: postgres, auth_method: peer}, {type: local, database: all, user: all, auth_method: peer}]
      roles: [geerlingguy.postgresql]
""", look="su postgres -c \"psql -Atc 'select rolname, rolsuper, rolcanlogin from pg_roles order by 1' -c 'select datname, datacl from pg_database order by 1'\"")

role("geerlingguy.mysql", """
    - hosts: h1
      become: true
      vars:
        mysql_root_password: super
        mysql_databases: [{name: example_db, encoding: latin1, collation: latin1_general_ci}]
        mysql_users: [{name: example_user, host: "%", password: similarly-secure-password, priv: "example_db.*:ALL"}]
      roles: [geerlingguy.mysql]
""", paths="/root/.my.cnf", look="mysql -e 'select user, host, plugin from mysql.user order by 1, 2; select * from mysql.db; show databases'")

role("geerlingguy.php", """
    - hosts: h1
      vars: {php_enable_webserver: false, php_enable_php_fpm: true, php_memory_limit: 192M, php_packages_extra: [php-apcu]}
      roles: [geerlingguy.php]
""")

role("geerlingguy.security", """
    - hosts: h1
      vars:
        security_sudoers_passwordless: [deploy]
        security_autoupdate_reboot: "false"
        security_ssh_permit_root_login: "yes"
        security_ssh_port: 2222
        security_fail2ban_enabled: true
      roles: [geerlingguy.security]
""")

role("nickjj.user", """
    - hosts: h1
      vars:
        user_name: nick
        user_local_ssh_key_path: "{{ lab_directory }}/keys/id.pub"
        user_groups: [nick]
        user_enable_passwordless_sudo: true
        user_generate_ssh_key: false
      roles: [nickjj.user]
""", paths="/home")

role("willshersystems.sshd", """
    - hosts: h1
      vars:
        sshd: {Port: 2222, PermitRootLogin: "yes", PasswordAuthentication: false, Match: [{Condition: Group users, AllowTcpForwarding: "no"}], AcceptEnv: [LANG, LC_*]}
      roles: [willshersystems.sshd]
""")

role("ansistrano.deploy", """
    - hosts: h1
      vars:
        ansistrano_deploy_from: APPLICATION/
        ansistrano_deploy_to: /srv/shop
        ansistrano_deploy_via: copy
        ansistrano_release_version: "20260101"
        ansistrano_shared_paths: [logs]
        ansistrano_keep_releases: 2
      roles: [ansistrano.deploy]
""", paths="/srv")

role("ansistrano.rollback", """
    - hosts: h1
      vars: &shop
        ansistrano_deploy_from: APPLICATION/
        ansistrano_deploy_to: /srv/shop
        ansistrano_deploy_via: copy
        ansistrano_release_version: "20260101"
      roles: [ansistrano.deploy]
    - hosts: h1
      vars: {<<: *shop, ansistrano_release_version: "20260102"}
      roles: [ansistrano.deploy]
    - hosts: h1
      vars: {ansistrano_deploy_to: /srv/shop}
      roles: [ansistrano.rollback]
""", paths="/srv")
